"""Telling a model's type from its content, without any framework and without running anything of it."""

import json
import mmap
import os
import stat
from pathlib import Path

from cryptors.errors import ModelSourceError, ModelTypeError
from cryptors.model_type import ModelType
from licensing.errors import FileAccessError
from licensing.files import unreadable

__all__ = ["check_type", "detect_type"]

StrPath = str | os.PathLike[str]

# torch.save before PyTorch 1.6 wrote three pickles, of which the first is this number.
_LEGACY_TORCH_BEGINNING = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
MAX_SAFETENSORS_HEADER_BYTES = 100_000_000


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
        with open(path, "rb") as file:
            beginning = file.read(64)
        if not beginning:
            raise ModelSourceError(f"the model {str(path)!r} is empty")
        if beginning.startswith(b"PK\x03\x04"):
            return _detect_zip(path)
        if beginning.startswith(_LEGACY_TORCH_BEGINNING):
            return ModelType.MODEL_TORCH
        if _is_safetensors(path, beginning):
            return ModelType.MODEL_SAFETENSORS
        return ModelType.MODEL_ONNX if _is_onnx(path) else None
    except (OSError, ValueError) as cause:
        raise unreadable(path, "model", cause) from cause


def check_type(model: StrPath, model_type: ModelType) -> None:
    """Refuses a model that is not of this type.

    Raises:
        ModelTypeError: it is of another type, or does not look like this one.
    """
    detected = detect_type(model)
    if detected is model_type:
        return
    found = "something else" if detected is None else f"of type {detected.value!r}"
    raise ModelTypeError(f"the model {os.fspath(model)!r} is not of type {model_type.value!r}: it is {found}")


def _detect_directory(path: Path) -> ModelType | None:
    try:
        names = os.listdir(path)
    except OSError as cause:
        raise unreadable(path, "model directory", cause) from cause
    if any(name.endswith(".safetensors") for name in names):
        return ModelType.MODEL_SAFETENSORS
    if sum(name.endswith(".onnx") for name in names) == 1:
        return ModelType.MODEL_ONNX
    return None


def _detect_zip(path: Path) -> ModelType | None:
    import zipfile  # Deferred: only vendors need it.

    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.partition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile:
        return None
    if "data.pkl" not in members:
        return None
    return ModelType.MODEL_TORCHSCRIPT if "constants.pkl" in members else ModelType.MODEL_TORCH


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


def _is_onnx(path: Path) -> bool:
    """Returns whether a file is one protobuf message with the fields of an ONNX ModelProto, a graph among them.

    Protobuf has no magic number. Walking the top level only reads a few bytes, whatever the model's size.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        position, numbers = 0, set()
        while position < len(data):
            field = _field(data, position)
            if field is None:
                return False
            number, position = field
            numbers.add(number)
        # ir_version and graph; all other fields of ModelProto have numbers up to 26.
        return {1, 7} <= numbers and max(numbers) <= 26


def _field(data: mmap.mmap, position: int) -> tuple[int, int] | None:
    """Returns one field's number and the position behind it; ModelProto has only varints and delimited fields."""
    key = _varint(data, position)
    if key is None or key[0] >> 3 == 0:
        return None
    wire_type, value = key[0] & 7, _varint(data, key[1])
    if value is None or wire_type not in (0, 2):
        return None
    end = value[1] + (value[0] if wire_type == 2 else 0)
    return (key[0] >> 3, end) if end <= len(data) else None


def _varint(data: mmap.mmap, position: int) -> tuple[int, int] | None:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            return None
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return None
