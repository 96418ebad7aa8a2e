"""The page cache: whether a file is in it, putting it there, and dropping it from there."""

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["drop", "resident_share", "warm"]

BUFFER_BYTES = 4 * 1024 * 1024


def warm(paths: Sequence[Path]) -> None:
    """Reads files, so that the page cache holds them as far as memory goes."""
    buffer = memoryview(bytearray(BUFFER_BYTES))
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def drop(paths: Sequence[Path]) -> None:
    """Asks the kernel to forget files that nobody has mapped; what was not written to the disk yet is written first."""
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident_share(paths: Sequence[Path]) -> float:
    """Returns which part of some files is in the page cache, from 0 to 1."""
    counts = [_resident_pages(path) for path in paths if path.stat().st_size]
    return sum(resident for resident, _ in counts) / max(1, sum(pages for _, pages in counts))


def _resident_pages(path: Path) -> tuple[int, int]:
    # Reading with RWF_NOWAIT would tell as well, but starts to read ahead what is not there.
    library = ctypes.CDLL(None, use_errno=True)
    library.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    # Writable, because ctypes tells the address of nothing else; private, so that nothing reaches the file.
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapping,
    ):
        pages = (ctypes.c_ubyte * -(-len(mapping) // mmap.PAGESIZE))()
        begin = ctypes.c_ubyte.from_buffer(mapping)
        failed = library.mincore(ctypes.addressof(begin), len(mapping), pages)
        del begin  # The mapping cannot be closed as long as this points into it.
        if failed:
            raise OSError(ctypes.get_errno(), "mincore")
        return bytes(pages).count(1), len(pages)
