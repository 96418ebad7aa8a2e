"""The parameters that a Paddle program wants, in both of Paddle's formats.

Paddle 3 writes programs as JSON (PIR), Paddle 2 as a protobuf message (ProgramDesc in
paddle/fluid/framework/framework.proto). Only the few fields that matter here are read.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptors.protobuf_fields import LENGTH_DELIMITED, VARINT, fields

__all__ = ["Parameter", "program_parameters", "protobuf_fields", "signed"]

_DENSE_TENSOR, _NOT_STORED = 7, {9, 10, 17}
"""Types of variables (VarType.Type): tensors; those that are inputs, outputs or nothing to store (RAW)."""


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: as the program calls it.
        elements: how many numbers it has; None where the program leaves its shape open.
    """

    name: str
    elements: int | None


def program_parameters(program: bytes) -> list[Parameter]:
    """Returns the parameters that Paddle reads for a program, in the order in which they are stored.

    Raises:
        ValueError: it is not a whole program.
    """
    try:
        found = _of_json(program) if program.lstrip()[:1] == b"{" else _of_protobuf(program)
    except (KeyError, IndexError, TypeError, AttributeError, StopIteration, RecursionError) as cause:
        raise ValueError("not a program") from cause
    return sorted(found, key=lambda parameter: parameter.name.encode())


def protobuf_fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yields the fields of a protobuf message: numbers as integers, strings and messages as bytes.

    Raises:
        ValueError: it is none, or one with fields of fixed length, which the messages read here do not have.
    """
    for field in fields(message, 0, len(message)):
        if field.wire_type == LENGTH_DELIMITED:
            yield field.number, message[field.start : field.end]
        elif field.wire_type == VARINT:
            yield field.number, field.value
        else:
            raise ValueError("a field of an unknown kind")


def signed(value: int) -> int:
    """Returns a 64-bit integer as protobuf means it."""
    return value - 2**64 if value >= 2**63 else value


def _of_json(program: bytes) -> list[Parameter]:
    """Returns the persistable results of the operations "p" (`builtin.parameter`) in the main block.

    Their attributes are lists: "A" ends with the name, "OA" begins with whether the result is persistable.
    """
    (block,) = json.loads(program)["program"]["regions"][0]["blocks"]
    operations = [operation for operation in block["ops"] if operation["#"] == "p" and operation["OA"][0]]
    return [Parameter(str(each["A"][3]), _elements(each["O"]["TT"]["D"][1])) for each in operations]


def _of_protobuf(program: bytes) -> list[Parameter]:
    main_block = next(value for number, value in protobuf_fields(program) if number == 1)
    variables = [dict(protobuf_fields(value)) for number, value in protobuf_fields(main_block) if number == 3]
    found = []
    for variable in variables:
        kind = dict(protobuf_fields(variable[2]))
        if variable.get(3) and kind[1] not in _NOT_STORED:
            found.append(Parameter(variable[1].decode(), _tensor_elements(kind) if kind[1] == _DENSE_TENSOR else None))
    return found


def _tensor_elements(kind: dict[int, Any]) -> int | None:
    tensor = next(value for number, value in protobuf_fields(kind[3]) if number == 1)
    return _elements([signed(value) for number, value in protobuf_fields(tensor) if number == 2])


def _elements(shape: list[int]) -> int | None:
    return None if any(size < 0 for size in shape) else math.prod(shape)
