"""A file that is put together from new bytes and from parts of other files, in memory that is written once."""

import io
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cryptors.errors import MemoryUnavailableError

__all__ = ["Part", "Piece", "joined", "length_of"]


@dataclass(frozen=True)
class Part:
    """A part of a file.

    Attributes:
        path: the file; "" for the one whose pieces these are.
        offset, length: in bytes.
    """

    path: str
    offset: int
    length: int


Piece = bytes | Part


def length_of(pieces: Iterable[Piece]) -> int:
    """Returns how many bytes pieces make together."""
    return sum(piece.length if isinstance(piece, Part) else len(piece) for piece in pieces)


def joined(pieces: Sequence[Piece], read_into: Callable[[Part, memoryview], None]) -> bytes:
    """Returns what pieces make together.

    Args:
        pieces: in their order.
        read_into: writes a part to memory of its length.
    """
    buffer = io.BytesIO()
    length = length_of(pieces)
    if length:
        # BytesIO hands its own bytes object out when it is asked for its value, so that nothing is copied.
        buffer.seek(length - 1)
        try:
            buffer.write(b"\0")
        except MemoryError as cause:
            raise MemoryUnavailableError(f"there is not enough memory: {length} bytes were asked for") from cause
        try:
            with buffer.getbuffer() as view:
                _fill(view, pieces, read_into)
        except BaseException as error:
            # The failed calls hold parts of the view, without which the buffer can be freed: Python complains
            # on standard error about a buffer that goes before its parts.
            traceback.clear_frames(error.__traceback__)
            raise
    return buffer.getvalue()


def _fill(view: memoryview, pieces: Sequence[Piece], read_into: Callable[[Part, memoryview], None]) -> None:
    for piece in pieces:
        target, view = view[: length_of([piece])], view[length_of([piece]) :]
        if isinstance(piece, Part):
            read_into(piece, target)
        else:
            target[:] = piece
