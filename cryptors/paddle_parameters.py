"""The file of a Paddle program's parameters (`.pdiparams`), checked against the program before both are encrypted.

Paddle itself does not notice that a file ends inside of its last tensor, or, with a program of Paddle 3, that there is
no file at all: it computes with whatever the memory held. It does not compare shapes either.
"""

import math
import os
from pathlib import Path
from typing import BinaryIO

from cryptors.errors import ModelSourceError
from cryptors.paddle_program import Parameter, program_parameters, protobuf_fields, signed
from licensing.files import open_input, read_bounded

__all__ = ["check_parameters", "stored_elements"]

MAX_PROGRAM_BYTES = 2**31 - 1
MAX_DESCRIPTION_BYTES = 4096
_ELEMENT_BYTES = {
    **dict.fromkeys((0, 20, 21, 32, 33), 1),
    **dict.fromkeys((1, 4, 22, 36), 2),
    **dict.fromkeys((2, 5, 37), 4),
    **dict.fromkeys((3, 6, 19, 23, 38), 8),
    24: 16,
}
"""Bytes per element by the type's number (VarType.Type in framework.proto)."""


def check_parameters(program: Path, parameters: Path | None) -> None:
    """Refuses parameters that are missing, damaged, or those of another program.

    Args:
        program: the program file.
        parameters: the file with its parameters; None where there is none.

    Raises:
        ModelSourceError: naming what is wrong.
        FileAccessError: a file cannot be read.
    """
    data = read_bounded(program, "model", MAX_PROGRAM_BYTES)
    try:
        wanted = program_parameters(data)
    except ValueError as cause:
        raise ModelSourceError(f"the program {str(program)!r} is cut short or damaged") from cause
    stored = [] if parameters is None else _stored(parameters)
    if wanted and parameters is None:
        raise ModelSourceError(
            f"the program's parameters are missing: {str(program.with_suffix('.pdiparams'))!r}",
            "put the file that was saved with the program beside it",
        )
    if not _fit(wanted, stored):
        raise ModelSourceError(f"the parameters in {str(parameters)!r} are those of another program")


def stored_elements(file: BinaryIO, size: int) -> list[int]:
    """Returns how many numbers each tensor of a parameter file has.

    Args:
        file: the file, from its beginning.
        size: its length in bytes.

    Raises:
        ValueError: it is not made of whole tensors.
    """
    found = []
    while file.tell() < size:
        elements, data_bytes = _read_description(file)
        if data_bytes > size - file.tell():
            raise ValueError("the last tensor is cut short")
        file.seek(data_bytes, os.SEEK_CUR)
        found.append(elements)
    return found


def _stored(parameters: Path) -> list[int]:
    try:
        with open_input(parameters, "model file") as file:
            return stored_elements(file, os.fstat(file.fileno()).st_size)
    except ValueError as cause:
        raise ModelSourceError(f"the parameters in {str(parameters)!r} are cut short or damaged") from cause


def _fit(wanted: list[Parameter], stored: list[int]) -> bool:
    return len(wanted) == len(stored) and all(
        parameter.elements in (None, elements) for parameter, elements in zip(wanted, stored, strict=True)
    )


def _read_description(file: BinaryIO) -> tuple[int, int]:
    """Reads what comes before a tensor's data, and returns how many numbers and how many bytes that is.

    The layout is that of SerializeToStream in paddle/phi/core/framework/dense_tensor_serialize.cc: a version, levels
    of details, which inference models do not have, another version, and a TensorDesc with its length before it.
    """
    if (_integer(file, 4), _integer(file, 8), _integer(file, 4)) != (0, 0, 0):
        raise ValueError("not a tensor")
    length = _integer(file, 4)
    if length > MAX_DESCRIPTION_BYTES:
        raise ValueError("a tensor's description is too long")
    fields = list(protobuf_fields(file.read(length)))
    (kind,) = [value for number, value in fields if number == 1]
    shape = [signed(value) for number, value in fields if number == 2]
    if kind not in _ELEMENT_BYTES or any(dimension < 0 for dimension in shape):
        raise ValueError("a tensor of an unknown kind")
    return math.prod(shape), math.prod(shape) * _ELEMENT_BYTES[kind]


def _integer(file: BinaryIO, size: int) -> int:
    data = file.read(size)
    if len(data) != size:
        raise ValueError("a tensor is cut short")
    return int.from_bytes(data, "little")
