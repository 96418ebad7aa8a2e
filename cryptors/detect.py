"""Telling a model's type from its content, without any framework and without running anything of it."""

import json
import mmap
import os
import stat
from pathlib import Path

from cryptors.errors import ModelSourceError, ModelTypeError
from cryptors.file_formats import BEGINNING_BYTES, file_type, is_openvino_xml, is_paddle_json, is_paddle_program
from cryptors.gguf_parts import first_parts
from cryptors.model_type import ModelType
from licensing.errors import FileAccessError
from licensing.files import unreadable

__all__ = ["check_type", "detect_type"]

StrPath = str | os.PathLike[str]

_ALSO = {
    ModelType.MODEL_TORCH: {ModelType.MODEL_TORCH2TRT},
    ModelType.MODEL_SAFETENSORS: {ModelType.MODEL_HUGGINGFACE},
    ModelType.MODEL_PADDLE2TRT: {ModelType.MODEL_PADDLE},
}
"""The detected types that a type takes beside its own: a model for Paddle-TRT is a Paddle model, for example."""

MAX_CONFIG_BYTES = 16 * 1024 * 1024


def detect_type(model: StrPath) -> ModelType | None:
    """Returns the type of a model file or directory, or None where its content does not tell.

    Raises:
        FileAccessError: it cannot be read.
        ModelSourceError: it is empty.
    """
    path = Path(model)
    if os.path.isdir(path):
        return _detect_directory(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # Opening a pipe that nobody writes to would hang.
            raise FileAccessError(f"the model {str(path)!r} is not a regular file", reason="not_a_file")
        beginning = _beginning(path)
        if not beginning:
            raise ModelSourceError(f"the model {str(path)!r} is empty")
        return file_type(path, beginning)
    except (OSError, ValueError) as cause:
        raise unreadable(path, "model", cause) from cause


def check_type(model: StrPath, model_type: ModelType) -> None:
    """Refuses a model that is not of this type.

    Raises:
        ModelTypeError: it is of another type, or does not look like this one.
    """
    detected = detect_type(model)
    if detected is model_type or detected in _ALSO.get(model_type, set()):
        return
    found = "something else" if detected is None else f"of type {detected.value!r}"
    raise ModelTypeError(f"the model {os.fspath(model)!r} is not of type {model_type.value!r}: it is {found}")


def _detect_directory(path: Path) -> ModelType | None:
    try:
        names = os.listdir(path)
        if "saved_model.pb" in names:
            return (
                ModelType.MODEL_TF2TRT if _holds_engine_nodes(path / "saved_model.pb") else ModelType.MODEL_TENSORFLOW
            )
        weights = [name for name in names if name.endswith((".safetensors", ".bin"))]
        if weights and "config.json" in names and _is_huggingface(path / "config.json"):
            return ModelType.MODEL_HUGGINGFACE
        if any(name.endswith(".safetensors") for name in names):
            return ModelType.MODEL_SAFETENSORS
        if len(first_parts(names)) == 1 and _are_gguf([path / name for name in names if name.endswith(".gguf")]):
            return ModelType.MODEL_GGUF
        if sum(name.endswith(".onnx") for name in names) == 1:
            return ModelType.MODEL_ONNX
        if sum(name.endswith(".xml") and is_openvino_xml(_beginning(path / name)) for name in names) == 1:
            return ModelType.MODEL_OPENVINO
        if sum(_is_paddle_program(path / name) for name in names) == 1:
            return ModelType.MODEL_PADDLE
    except OSError as cause:
        raise unreadable(path, "model directory", cause) from cause
    return None


def _is_huggingface(config: Path) -> bool:
    """Returns whether a configuration names the kind of a model, without which `transformers` cannot build it."""
    if not config.is_file() or config.stat().st_size > MAX_CONFIG_BYTES:
        return False
    try:
        return isinstance(json.loads(config.read_bytes()).get("model_type"), str)
    except (ValueError, AttributeError, RecursionError):
        return False


def _are_gguf(paths: list[Path]) -> bool:
    return all(_beginning(path).startswith(b"GGUF") for path in paths)


def _is_paddle_program(path: Path) -> bool:
    if path.suffix == ".json":
        return is_paddle_json(_beginning(path))
    return path.suffix == ".pdmodel" and _beginning(path) != b"" and is_paddle_program(path)


def _holds_engine_nodes(saved_model: Path) -> bool:
    """Returns whether a SavedModel's graph has nodes of the kind that TF-TRT puts there."""
    if not _beginning(saved_model):
        return False
    with open(saved_model, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b"TRTEngineOp") >= 0


def _beginning(path: Path) -> bytes:
    """Returns the first bytes of a file; none where it is no regular file."""
    if not path.is_file():
        return b""
    with open(path, "rb") as file:
        return file.read(BEGINNING_BYTES)
