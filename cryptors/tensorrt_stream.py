"""Handing a plan to TensorRT piece by piece, as it is decrypted."""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from cryptors.memory import PlaintextMemory

__all__ = ["Readable", "open_stream_reader"]

Readable = BinaryIO | io.RawIOBase

CHUNK_BYTES = 16 * 1024 * 1024
"""At most this much is decrypted at once: enough segments for all threads, and little beside the plan itself."""


@contextlib.contextmanager
def open_stream_reader(module: Any, file: Readable, start: int) -> Iterator[Any]:
    """Gives an `IStreamReaderV2` of a module of TensorRT.

    Args:
        module: the module.
        file: what the plan is read from.
        start: where the plan begins in it.

    Raises:
        BaseException: what reading the file had raised, which TensorRT would only print.
    """
    reader = _new_stream_reader(module, file, start)
    try:
        yield reader
    finally:
        reader.chunk.close()
    if reader.failure is not None:
        raise reader.failure


def _new_stream_reader(module: Any, file: Readable, start: int) -> Any:
    class StreamReader(module.IStreamReaderV2):  # type: ignore[misc]
        """What TensorRT calls.

        Attributes:
            chunk: where plaintext is before TensorRT's bindings copy it, which is before they ask for more.
            failure: what went wrong; from then on, nothing is read.
        """

        def __init__(self) -> None:
            module.IStreamReaderV2.__init__(self)
            self.size = file.seek(0, os.SEEK_END) - start
            self.position = 0
            self.chunk = PlaintextMemory(min(self.size, CHUNK_BYTES))
            self.failure: BaseException | None = None

        def read(self, num_bytes: int, stream: int) -> bytes | memoryview:
            """Returns up to so many bytes; after fewer, TensorRT asks again, and after none it gives up."""
            count = 0
            try:
                if self.failure is None:
                    file.seek(start + self.position)
                    count = file.readinto(self.chunk.view[:num_bytes]) or 0  # type: ignore[union-attr]
            except BaseException as error:
                self.failure = error
            self.position += count
            return self.chunk.view[:count] if count else b""

        def seek(self, offset: int, where: Any) -> bool:
            """Moves to a place.

            TensorRT's documentation counts backward from the end, and its samples forward with negative numbers;
            there is nothing behind the end, so that both can be meant.
            """
            base = {"SET": 0, "CUR": self.position, "END": self.size}[where.name]
            position = base - abs(offset) if where.name == "END" else base + offset
            if not 0 <= position <= self.size:
                return False
            self.position = position
            return True

    return StreamReader()
