"""Safetensors files: where each tensor is, and tensors over decrypted memory.

The format: eight bytes with the length of a header (little-endian), the header in JSON, and the tensors behind it
without gaps (https://huggingface.co/docs/safetensors, "Format"). An unusual file is not taken here: the package
safetensors loads it, or says what is wrong with it.
"""

import importlib
import json
import math
from dataclasses import dataclass
from typing import Any

from cryptors.frameworks import import_framework
from cryptors.reader import ModelFile

__all__ = ["TensorPlace", "element_type", "read_places", "tensor_over"]

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""As in the package safetensors."""

_TYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "C64": ("complex64", 8),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U64": ("uint64", 8),
    "U32": ("uint32", 4),
    "U16": ("uint16", 2),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
"""What the frameworks call each type, and the bytes of an element."""


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor is in its file, in bytes, and what it is; `dtype` as the format names it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


def read_places(file: ModelFile) -> list[TensorPlace] | None:
    """Returns the tensors of a file in the order of their data, or None where the file is not as usual."""
    file.seek(0)
    length = int.from_bytes(file.read(LENGTH_BYTES) or b"", "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, file.size - LENGTH_BYTES):
        return None
    end = LENGTH_BYTES + length
    try:
        header = json.loads(file.read(length) or b"", object_pairs_hook=_without_repetitions)
        _check_metadata(header.pop("__metadata__", {}))
        places = [_place(name, value, end) for name, value in header.items()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    places.sort(key=lambda place: (place.offset, place.size))
    for place in places:
        if place.offset != end:
            return None
        end += place.size
    return places if end == file.size else None


def element_type(framework: str, dtype: str) -> Any:
    """Returns the type of a tensor's elements in PyTorch ("pt") or NumPy ("np"), or None where there is none."""
    if framework == "pt":
        return getattr(import_framework("torch", "torch"), _TYPES[dtype][0], None)
    numpy = import_framework("numpy", "safetensors")
    if dtype == "BF16":  # NumPy lacks it; where this package is, safetensors takes it from there as well.
        try:
            return numpy.dtype(importlib.import_module("ml_dtypes").bfloat16)
        except ImportError:
            return None
    return None if dtype.startswith("F8") else numpy.dtype(_TYPES[dtype][0])


def tensor_over(framework: str, view: memoryview, element: Any, shape: tuple[int, ...]) -> Any:
    """Returns a tensor over memory that holds just its bytes; the memory lives as long as the tensor does."""
    if framework == "np":
        return import_framework("numpy", "safetensors").frombuffer(view, element).reshape(shape)
    torch = import_framework("torch", "torch")
    return torch.frombuffer(view, dtype=element).reshape(shape) if view else torch.empty(shape, dtype=element)


def _place(name: str, value: dict[str, Any], data: int) -> TensorPlace:
    """Returns one entry of a header, whose offsets count from where the data begins."""
    if value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError("other members")
    name.encode()  # A lone surrogate is no text.
    dtype, shape, (start, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
    width = _TYPES[dtype][1]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise ValueError("not counts")
    if end - start != math.prod(shape) * width or start % width:
        raise ValueError("not the size of this shape, or not aligned")
    return TensorPlace(name, dtype, shape, data + start, end - start)


def _check_metadata(metadata: dict[str, Any]) -> None:
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("not text")


def _without_repetitions(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is there twice")
    return members
