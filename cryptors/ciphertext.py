"""The file of a locked model: its bytes, read at any place, by several threads at the same time."""

import mmap
import os
import stat

from cryptors.errors import ModelDamagedError
from cryptors.memory import HUGE_PAGE_BYTES, new_mapping
from cryptors.stream import SEGMENT_BYTES
from licensing.errors import FileAccessError
from licensing.files import unreadable

__all__ = ["CiphertextFile", "Scratch"]

StrPath = str | os.PathLike[str]


class CiphertextFile:
    """A locked model's file that is open for reading.

    Attributes:
        descriptor: -1 when it is closed.

    Raises:
        FileAccessError: there is no such file, or it cannot be read.
    """

    def __init__(self, path: StrPath) -> None:
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as cause:
            raise unreadable(path, "locked model", cause) from cause
        if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            self.close()
            raise FileAccessError(f"the locked model {os.fspath(path)!r} is not a regular file", reason="not_a_file")
        self._idle: list[Scratch] = []

    def read(self, position: int, target: memoryview) -> None:
        """Fills memory with the bytes from this place of the file on.

        Positional reads, although a mapping would save a copy: where the file shrinks or storage fails, a mapping ends
        the process with a signal.

        Raises:
            ModelDamagedError: the file ends before.
            FileAccessError: storage fails.
        """
        while target:
            try:
                count = os.preadv(self.descriptor, [target], position)
            except OSError as cause:
                raise FileAccessError(
                    f"the locked model cannot be read: {(cause.strerror or '').lower()}", reason="file_unreadable"
                ) from cause
            if count == 0:
                raise ModelDamagedError("the locked model became shorter while it was read")
            target, position = target[count:], position + count

    def is_cached(self, position: int) -> bool:
        """Tells whether the byte at this place is in memory; no, where the file system cannot tell."""
        try:
            return os.preadv(self.descriptor, [bytearray(1)], position, os.RWF_NOWAIT) == 1
        except OSError:
            return False

    def take_scratch(self) -> "Scratch":
        """Returns memory for one segment, which is to be given back."""
        try:
            return self._idle.pop()
        except IndexError:
            return Scratch(SEGMENT_BYTES)

    def give_back(self, scratch: "Scratch") -> None:
        """Keeps the memory for whoever takes it next, so that its pages need not be had again."""
        self._idle.append(scratch)

    def close(self) -> None:
        """Closes the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Scratch:
    """Memory for ciphertext between reading and decrypting, in one huge page where the system offers it."""

    def __init__(self, size: int) -> None:
        self._view = memoryview(new_mapping(max(size + mmap.PAGESIZE, HUGE_PAGE_BYTES)))

    def at(self, position: int, size: int) -> memoryview:
        """Returns a part for bytes that come from this position in a file.

        Both lie equally far from the beginnings of their pages. Where the part lay 16 bytes further, some processors
        (AMD Zen 3) would copy five times slower.
        """
        start = position % mmap.PAGESIZE
        return self._view[start : start + size]
