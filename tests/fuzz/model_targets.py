"""Fuzz targets of what is read in a model itself: authenticated, but by a vendor who may have been deceived.

Where our code stands between a framework and its own file, `cryptors.base` converts every error; so here an error of
any class is a refusal, and only time, memory and what is read wrongly are findings.
"""

import io
import math
import pickletools
from typing import Any

from cryptors.errors import ModelMalformedError, ModelRejectedError, UnsafePickleError
from cryptors.gguf_parts import first_parts, parts_of
from cryptors.keras_archive import KerasArchive
from cryptors.onnx_external_data import with_values_inside
from cryptors.onnx_tensors import OnnxTensors
from cryptors.paddle_pickle import check_weights_only
from cryptors.pieces import joined
from cryptors.protobuf_fields import LENGTH_DELIMITED, FieldsError, encode_beginning, fields, packed_numbers
from cryptors.safetensors_file import read_places
from cryptors.torch_archive import Archive
from cryptors.torch_export_archive import ExportArchive
from cryptors.weight_shards import read_shards
from tests.fuzz.target import Target, WrittenOtherwise
from tests.fuzz.written import same_bytes

__all__ = ["MODEL_TARGETS"]


class _File(io.BytesIO):
    """What passes for a file of a locked model."""

    @property
    def size(self) -> int:
        return len(self.getvalue())

    def read_all(self) -> bytes:
        return self.getvalue()


class _Model:
    """What passes for a locked model with one file."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def file(self, path: str) -> _File:
        return _File(self._data)


def _protobuf(data: bytes) -> None:
    end = 0
    for field in fields(data, 0, len(data)):
        if not end == field.begin < field.start <= field.end:
            raise WrittenOtherwise("fields that do not follow each other")
        if field.wire_type == LENGTH_DELIMITED:
            beginning = encode_beginning(field.number, field.end - field.start)
            if len(beginning) > field.start - field.begin:
                raise WrittenOtherwise("a key that is shorter than its shortest form")
            packed_numbers(data, field.start, field.end)
        end = field.end
    if end != len(data):
        raise WrittenOtherwise("bytes that belong to no field")


def _onnx(data: bytes) -> None:
    tensors = OnnxTensors(data)
    tensors.unique_initializers()

    def read_into(part: Any, target: memoryview) -> None:
        target[:] = data[part.offset : part.offset + part.length]

    same_bytes(joined(tensors.rewritten({}), read_into), data)
    inside = with_values_inside(data, {})
    if any(tensor.is_external for tensor in OnnxTensors(inside).found):
        raise WrittenOtherwise("a tensor that is still elsewhere")


def _safetensors(data: bytes) -> None:
    file: Any = _File(data)
    places = read_places(file)
    for place in places or ():
        if not 8 <= place.offset <= place.offset + place.size <= len(data) or math.prod(place.shape) > len(data) * 8:
            raise WrittenOtherwise("a tensor outside the file")


def _shards(data: bytes) -> None:
    model: Any = _Model(data)
    for name, path in read_shards(model, "folder/model.safetensors.index.json").items():
        if not isinstance(name, str) or not isinstance(path, str):
            raise WrittenOtherwise("a name that is no text")


def _torch_archive(data: bytes) -> None:
    def read_at(offset: int, target: memoryview) -> None:
        if len(target) and not 0 <= offset <= offset + len(target) <= len(data):
            raise WrittenOtherwise("a read outside the file")
        target[:] = data[offset : offset + len(target)]

    archive = Archive(read_at, len(data))
    for record in archive._records:
        for name in (record.header_offset + 30, record.header_offset + 40):
            if name + record.file_size <= len(data):
                archive.storage_at(name, record.file_size)


def _export_archive(data: bytes) -> None:
    archive = ExportArchive(io.BytesIO(data))
    _ = archive.holds_compiled_code
    for pickled in archive.pickles():
        if not isinstance(pickled, bytes):
            raise WrittenOtherwise("a pickle that is no bytes")
    archive.operators()


def _keras_archive(data: bytes) -> None:
    with KerasArchive(io.BytesIO(data)) as archive, archive.open("model.weights.h5") as weights:
        weights.read(1000)


def _paddle_pickle(data: bytes) -> None:
    if not _asks_python_for_memory(data):
        check_weights_only(io.BytesIO(data))


def _asks_python_for_memory(data: bytes) -> bool:
    """Returns whether a pickle numbers a value so high that Python's unpickler itself takes memory for all below it.

    That is Python's (CPython issue 115952), which Paddle would use on the same file next.
    """
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in ("PUT", "LONG_BINPUT") and argument is not None and argument > 2**16:
                return True
    except Exception:
        return False
    return False


def _gguf_parts(data: bytes) -> None:
    name = data.decode("utf-8", "surrogateescape")
    parts = parts_of(name)
    if name.endswith(".gguf") and first_parts(parts) != sorted({parts[0]}) and len(parts) < 1000:
        raise WrittenOtherwise("parts that do not belong together")


ANY = (Exception,)

MODEL_TARGETS = (
    Target("protobuf-fields", _protobuf, (FieldsError,), json=False, max_bytes=4096),
    Target("onnx-tensors", _onnx, (ValueError, ModelMalformedError), json=False, max_bytes=4096),
    Target("safetensors-file", _safetensors, (), json=False, max_bytes=8192),
    Target("weight-shards", _shards, (ModelMalformedError,)),
    Target("torch-archive", _torch_archive, ANY, json=False, max_bytes=8192),
    Target("torch-export-archive", _export_archive, ANY, json=False, max_bytes=8192),
    Target("keras-archive", _keras_archive, (ModelRejectedError, *ANY), json=False, max_bytes=8192),
    Target("paddle-pickle", _paddle_pickle, (UnsafePickleError, MemoryError, *ANY), json=False, max_bytes=4096),
    Target("gguf-parts", _gguf_parts, (), json=False, max_bytes=300),
)
