"""Plaintext memory: kept out of core dumps, wiped when it is no longer needed or when decryption fails.

Limits: it may be swapped out, and whatever a framework copies from it is the framework's memory.
docs/limitations.md says more.
"""

import contextlib
import errno
import fcntl
import mmap
import os
from types import TracebackType

from cryptors.errors import MemoryUnavailableError

__all__ = ["PlaintextFile", "PlaintextMemory", "WrittenFile", "new_mapping", "wipe"]

HUGE_PAGE_BYTES = 2 * 1024 * 1024
_ZEROS = bytearray(1024 * 1024)


def wipe(view: memoryview) -> None:
    """Overwrites writable memory with zeros, where it is not zero.

    So memory that was never used is only read: before it could be written to, the kernel would have to find pages for
    it, which takes seconds for a large model whose loading was interrupted.
    """
    flat, zeros = view.cast("B"), _ZEROS
    for start in range(0, len(flat), len(zeros)):
        part = flat[start : start + len(zeros)]
        if zeros != part:  # A bytearray on the left: so Python compares quickly, and takes no memory for that.
            part[:] = memoryview(zeros)[: len(part)]


def new_mapping(size: int, descriptor: int = -1) -> mmap.mmap:
    """Returns a mapping of a memory file or, by default, of memory without a file, in huge pages where it fills some.

    Page faults cost more than decrypting does; a huge page takes one instead of 512.

    Raises:
        MemoryUnavailableError: the system refuses.
        OSError: with a descriptor, of which a mapping keeps a copy: the process may open no more.
    """
    try:
        if descriptor >= 0:
            mapping = mmap.mmap(descriptor, size)
        else:
            mapping = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, MemoryError, OverflowError) as cause:
        if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
            raise
        raise MemoryUnavailableError(f"there is not enough memory: {size} bytes were asked for") from cause
    if size >= HUGE_PAGE_BYTES:
        # A kernel without huge pages is slower, not wrong. For memory files, most offer none.
        with contextlib.suppress(OSError):
            mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping


class PlaintextMemory:
    """An anonymous mapping for plaintext.

    Args:
        size: bytes; may be zero.

    Attributes:
        view: the memory, writable.

    Raises:
        MemoryUnavailableError: the system refuses.
    """

    def __init__(self, size: int) -> None:
        self._map = new_mapping(size)
        self._map.madvise(mmap.MADV_DONTDUMP)
        self.view = memoryview(self._map)[:size]

    def keep_from_children(self) -> None:
        """Leaves the memory out of processes that are forked from this one."""
        self._map.madvise(mmap.MADV_DONTFORK)

    def close(self) -> None:
        """Wipes the memory and gives it back. Views that callers still hold see zeros."""
        wipe(self.view)
        self.view.release()
        try:
            self._map.close()
        except BufferError:
            pass  # Somebody still holds a view; the memory goes with it, and it is zero.

    def __enter__(self) -> "PlaintextMemory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PlaintextFile:
    """A memory file for frameworks that take only paths: it has a path, and no file system knows it.

    Args:
        size: bytes.

    Raises:
        MemoryUnavailableError: the system refuses.

    `view` is writable until `seal` is called; after that, nobody can change the content any more.
    """

    def __init__(self, size: int) -> None:
        self._descriptor = os.memfd_create("weightlock", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._map: mmap.mmap | None = None
        try:
            os.ftruncate(self._descriptor, size)
            if size:
                self._map = new_mapping(size, self._descriptor)
                self._map.madvise(mmap.MADV_DONTDUMP)
        except BaseException:
            os.close(self._descriptor)
            raise
        self.view = memoryview(self._map) if self._map else memoryview(bytearray())

    @property
    def path(self) -> str:
        """The path, for this process, until `close`."""
        return f"/proc/self/fd/{self._descriptor}"

    def seal(self) -> None:
        """Makes the content final."""
        self.view.release()
        if self._map is not None:
            self._map.close()
            self._map = None
        _seal(self._descriptor)

    def close(self) -> None:
        """Gives the memory back, when nobody has it mapped any more; the kernel zeroes it before it is used again."""
        if self._map is not None:
            self._wipe()
            self.view.release()
            try:
                self._map.close()
            except BufferError:
                pass  # A call that failed still holds a part of the view; the memory goes with it, and it is zero.
            self._map = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "PlaintextFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wipe(self) -> None:
        """Overwrites what was written: in a memory file, even reading takes pages where there are none yet."""
        end = 0
        with contextlib.suppress(OSError):  # There is no data after the last one: ENXIO.
            while True:
                start = os.lseek(self._descriptor, end, os.SEEK_DATA)
                end = os.lseek(self._descriptor, start, os.SEEK_HOLE)
                wipe(self.view[start:end])


class WrittenFile:
    """A memory file of any length for frameworks that write to a path.

    Attributes:
        path: the path, for this process, until `close`.
    """

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("weightlock", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.path = f"/proc/self/fd/{self._descriptor}"

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Appends bytes."""
        view = memoryview(data).cast("B")
        while view:
            view = view[os.write(self._descriptor, view) :]

    def seal(self) -> None:
        """Makes the content final."""
        _seal(self._descriptor)

    def close(self) -> None:
        """Gives the memory back; the kernel zeroes it before it is used again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "WrittenFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _seal(descriptor: int) -> None:
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
