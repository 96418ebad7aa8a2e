"""Protocol buffers as they are written: the fields of a message, where each lies, and nothing of what they mean.

https://protobuf.dev/programming-guides/encoding. That is enough to find large values in a message without reading
them, and to put others in their place; messages are neither decoded nor built.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple, Protocol

__all__ = [
    "LENGTH_DELIMITED",
    "VARINT",
    "Bytes",
    "Field",
    "FieldsError",
    "FileBytes",
    "encode_beginning",
    "encode_field",
    "fields",
    "packed_numbers",
]

VARINT, FIXED_64, LENGTH_DELIMITED, FIXED_32 = 0, 1, 2, 5
"""Wire types. The two that are missing are groups, which no schema of the last twenty years has."""

_VARINT_BYTES = 10
_BLOCK_BYTES = 64 * 1024


class FieldsError(ValueError):
    """The bytes are no message."""


class Bytes(Protocol):
    """What messages are read from: `bytes`, a view of memory, or a `FileBytes`."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> bytes | memoryview: ...


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: which one, by the schema.
        wire_type: how it is written.
        begin: where its key begins.
        start, end: where its content lies.
        value: the number, where it is one.
    """

    number: int
    wire_type: int
    begin: int
    start: int
    end: int
    value: int


class FileBytes:
    """The bytes of a file, of which only those blocks are read that are looked at.

    Args:
        descriptor: an open file. It may change meanwhile: what was cut off is missing, and that is all.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._start, self._block = 0, b""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice, /) -> bytes:
        start, end, _ = place.indices(self._size)
        if not self._start <= start <= end <= self._start + len(self._block):
            self._start, self._block = start, os.pread(self._descriptor, max(end - start, _BLOCK_BYTES), start)
        return self._block[start - self._start : end - self._start]


def fields(data: Bytes, start: int, end: int) -> Iterator[Field]:
    """Yields the fields of the message that lies at these bytes.

    Raises:
        FieldsError: it is none.
    """
    place = start
    while place < end:
        head = data[place : place + 2 * _VARINT_BYTES]  # What is read behind the end is refused below.
        key, used = _varint(head, 0)
        number, wire_type, value = key >> 3, key & 7, 0
        content = place + used
        if wire_type == LENGTH_DELIMITED:
            length, used = _varint(head, used)
            content = place + used
            stop = content + length
        elif wire_type == VARINT:
            value, used = _varint(head, used)
            stop = place + used
        elif wire_type in (FIXED_32, FIXED_64):
            stop = content + (4 if wire_type == FIXED_32 else 8)
        else:
            raise FieldsError("a field of an unknown kind")
        if stop > end or not 0 < number < 2**29:
            raise FieldsError("a field that cannot be")
        yield Field(number, wire_type, place, content, stop, value)
        place = stop


def packed_numbers(data: Bytes, start: int, end: int) -> list[int]:
    """Returns the numbers of a repeated field that is written as one."""
    content, place, numbers = data[start:end], 0, []
    while place < len(content):
        number, place = _varint(content, place)
        numbers.append(number)
    return numbers


def encode_field(number: int, value: int | bytes) -> bytes:
    """Returns a field: a number, or bytes behind their length."""
    if isinstance(value, int):
        return _encode_varint(number << 3 | VARINT) + _encode_varint(value)
    return encode_beginning(number, len(value)) + value


def encode_beginning(number: int, length: int) -> bytes:
    """Returns what stands before content of this length."""
    return _encode_varint(number << 3 | LENGTH_DELIMITED) + _encode_varint(length)


def _varint(content: bytes | memoryview, place: int) -> tuple[int, int]:
    """Returns a number of at most 64 bits, and where what follows it begins."""
    value = shift = 0
    try:
        while shift < 7 * _VARINT_BYTES:
            byte = content[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 2**64:
                    raise FieldsError("a number that is too large")
                return value, place
            shift += 7
    except IndexError as cause:
        raise FieldsError("a number that does not end") from cause
    raise FieldsError("a number of more than ten bytes")


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
