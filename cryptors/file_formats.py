"""Telling single files of models apart by their content. Nothing of them runs, and only little of them is read."""

import io
import json
import mmap
import re
from pathlib import Path
from typing import BinaryIO

from cryptors.model_type import ModelType
from cryptors.protobuf_fields import LENGTH_DELIMITED, VARINT, FieldsError, fields

__all__ = [
    "BEGINNING_BYTES",
    "RTX_PLAN_MAGIC",
    "file_type",
    "is_openvino_blob",
    "is_openvino_xml",
    "is_paddle_json",
    "is_paddle_program",
    "plan_start",
]

BEGINNING_BYTES = 4096
"""How much of a file's beginning is enough to tell the formats that have a magic number."""

# torch.save before PyTorch 1.6 wrote three pickles, of which the first is this number.
_LEGACY_TORCH_BEGINNING = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
RTX_PLAN_MAGIC = b"vtrt"
_PLAN_MAGICS = (b"ftrt", b"ptrt", RTX_PLAN_MAGIC)
"""TensorRT's plans, the older and the newer; TensorRT for RTX's."""
MAX_PLAN_METADATA_BYTES = 16 * 1024 * 1024
MAX_SAFETENSORS_HEADER_BYTES = 100_000_000
MAX_PICKLE_BYTES = 1024 * 1024
"""How much of a PyTorch file's own pickle is searched for what torch2trt writes."""


def file_type(path: Path, beginning: bytes) -> ModelType | None:
    """Returns the type of a model file, or None where its content does not tell.

    Args:
        path: the file.
        beginning: its first `BEGINNING_BYTES` bytes, or all where it has fewer.

    Raises:
        OSError: it cannot be read.
    """
    if beginning.startswith(b"PK\x03\x04"):
        return _zip_type(path)
    if beginning.startswith(_LEGACY_TORCH_BEGINNING):
        return ModelType.MODEL_TORCH
    if beginning.startswith(_HDF5_SIGNATURE):
        return ModelType.MODEL_TENSORFLOW
    if _is_plan(path):
        return ModelType.MODEL_TENSORRT
    if beginning.startswith(b"GGUF"):
        return ModelType.MODEL_GGUF
    if beginning[4:8] == b"TFL3":
        return ModelType.MODEL_LITERT
    if is_openvino_xml(beginning) or is_openvino_blob(beginning):
        return ModelType.MODEL_OPENVINO
    if _is_safetensors(path, beginning):
        return ModelType.MODEL_SAFETENSORS
    if is_paddle_json(beginning) or _is_paddle_state(path, beginning):
        return ModelType.MODEL_PADDLE
    numbers = _protobuf_fields(path)
    if numbers is None:
        return None
    # ir_version and graph; all other fields of ModelProto have numbers up to 26.
    if {1, 7} <= numbers and max(numbers) <= 26:
        return ModelType.MODEL_ONNX
    return ModelType.MODEL_PADDLE if _are_paddle_fields(numbers) else None


def plan_start(file: BinaryIO | io.RawIOBase) -> int | None:
    """Returns where the plan begins in a file for TensorRT, or None where there is none.

    Ultralytics writes a JSON object before it, and before that its length in four bytes.
    """
    beginning = file.read(5) or b""
    if beginning.startswith(_PLAN_MAGICS):
        return 0
    start = 4 + int.from_bytes(beginning[:4], "little")
    if beginning[4:] != b"{" or start > MAX_PLAN_METADATA_BYTES:
        return None
    file.seek(start)
    return start if file.read(4) in _PLAN_MAGICS else None


def _is_plan(path: Path) -> bool:
    with open(path, "rb") as file:
        return plan_start(file) is not None


def is_openvino_xml(beginning: bytes) -> bool:
    """Returns whether a file begins as OpenVINO's IR does: XML whose root element is `net`."""
    return re.match(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>\s*)?<net\s[^>]*\bversion=", beginning) is not None


def is_openvino_blob(beginning: bytes) -> bool:
    """Returns whether a file begins as a model that OpenVINO compiled for the CPU and exported."""
    return beginning.startswith(b"RR_UPCVO")


def is_paddle_json(beginning: bytes) -> bool:
    """Returns whether a file begins as Paddle's programs do since Paddle 3."""
    return re.match(rb'\s*\{\s*"base_code"\s*:\s*\{[^}]*"magic"\s*:\s*"pir"', beginning) is not None


def is_paddle_program(path: Path) -> bool:
    """Returns whether a file is one protobuf message with the fields of Paddle's ProgramDesc."""
    numbers = _protobuf_fields(path)
    return numbers is not None and _are_paddle_fields(numbers)


def _are_paddle_fields(numbers: set[int]) -> bool:
    # blocks, and version or op_version_map.
    return 1 in numbers and bool(numbers & {4, 5}) and numbers <= {1, 4, 5}


def _zip_type(path: Path) -> ModelType | None:
    import zipfile  # Deferred: customers' applications only load models, and start faster without it.

    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if {"config.json", "metadata.json"} <= names and any(name.endswith(".weights.h5") for name in names):
                return ModelType.MODEL_TENSORFLOW
            inner = {name.partition("/")[2]: name for name in names}
            if "models/model.json" in inner or "serialized_exported_program.json" in names:
                return ModelType.MODEL_TORCH_EXPORT
            if "data.pkl" not in inner:
                return None
            if "constants.pkl" in inner:
                return ModelType.MODEL_TORCHSCRIPT
            with archive.open(inner["data.pkl"]) as pickled:
                is_engine = _holds_engine(pickled.read(MAX_PICKLE_BYTES))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):  # Damaged, compressed or encrypted otherwise.
        return None
    return ModelType.MODEL_TORCH2TRT if is_engine else ModelType.MODEL_TORCH


def _holds_engine(pickled: bytes) -> bool:
    """Returns whether a state dict begins with the engine of a torch2trt `TRTModule`: a byte array that is a plan."""
    return re.match(rb"(?s).{0,200}engine.{0,40}bytearray.{0,60}[fpv]trt", pickled) is not None


def _is_paddle_state(path: Path, beginning: bytes) -> bool:
    """Returns whether a file is a pickle that `paddle.save` made of a state dict: it ends with a table of names."""
    if beginning[:1] != b"\x80":
        return False
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - MAX_PICKLE_BYTES))
        return b"StructuredToParameterName@@" in file.read(MAX_PICKLE_BYTES)


def _is_safetensors(path: Path, beginning: bytes) -> bool:
    length = int.from_bytes(beginning[:8], "little")
    if beginning[8:9] != b"{" or not 2 <= length <= min(MAX_SAFETENSORS_HEADER_BYTES, path.stat().st_size - 8):
        return False
    with open(path, "rb") as file:
        file.seek(8)
        try:
            return isinstance(json.loads(file.read(length)), dict)
        except (ValueError, RecursionError):
            return False


def _protobuf_fields(path: Path) -> set[int] | None:
    """Returns the field numbers of the one protobuf message that a file is, or None where it is none.

    Protobuf has no magic number. Walking the top level only reads a few bytes, whatever the model's size.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found: set[tuple[int, int]] = set()
        try:
            found.update((field.number, field.wire_type) for field in fields(data, 0, len(data)))
        except FieldsError:
            return None
        # The models' messages have numbers and delimited fields only.
        if {wire_type for _, wire_type in found} - {VARINT, LENGTH_DELIMITED}:
            return None
        return {number for number, _ in found}
