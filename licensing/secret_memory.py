"""Memory for keys: out of reach of other processes where the kernel offers that, never swapped where it allows that.

Three kinds, the best that can be had:

    secret    memfd_secret(2): pages that the kernel itself has no mapping of. They are in no core dump, on no swap, and
              neither /proc/PID/mem nor a debugger reads them, not even root's.
    locked    anonymous memory under mlock(2) and MADV_DONTDUMP: in no core dump, on no swap.
    ordinary  anonymous memory where neither is possible: RLIMIT_MEMLOCK is used up, or a sandbox forbids it.

This is for keys. What a library of cryptography makes of a key while it works is on the heap, and whoever runs code in
this process reads everything. docs/limitations.md.
"""

import contextlib
import ctypes
import mmap
import os
import platform
from types import TracebackType
from typing import Literal

__all__ = ["MemoryKind", "SecretMemory", "forget"]

MemoryKind = Literal["secret", "locked", "ordinary"]

_SYS_MEMFD_SECRET = 447
"""The number of memfd_secret(2) on every architecture that has it."""

_ARCHITECTURES = ("x86_64", "aarch64", "riscv64")
_libc = ctypes.CDLL(None, use_errno=True)


class SecretMemory:
    """A few bytes in the most protected memory that can be had here.

    Args:
        size: bytes; each object takes a page at least, of which a process can lock 8 MiB by default.
        kinds: which kinds may be used; the first that is possible is taken, and ordinary memory always is.

    Attributes:
        view: the memory, writable, zero at first.
        kind: what was possible.
    """

    def __init__(self, size: int, kinds: tuple[MemoryKind, ...] = ("secret", "locked")) -> None:
        self.kind: MemoryKind
        self._map, self.kind = _best_mapping(size, kinds)
        self.view = memoryview(self._map)[:size]
        self._closed = False

    def __repr__(self) -> str:
        return f"SecretMemory(size={len(self.view)}, kind={self.kind!r})"

    @classmethod
    def holding(cls, secret: bytes) -> "SecretMemory":
        """Returns a copy of a secret; the original stays as it is."""
        memory = cls(len(secret))
        memory.view[:] = secret
        return memory

    def close(self) -> None:
        """Overwrites the memory and gives it back; may be called twice."""
        if self._closed:
            return
        self._closed = True
        self.view[:] = bytes(len(self.view))
        self.view.release()
        with contextlib.suppress(BufferError):  # Somebody still looks at it; it is zero, and goes with them.
            self._map.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # It was never made.
            self.close()

    def __enter__(self) -> "SecretMemory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def forget(secret: bytes) -> None:
    """Overwrites a secret that a library returned as `bytes`, so that it does not stay on the heap.

    Only for an object that nobody else uses or needs again: Python takes bytes to be immutable, and shares those of
    one byte and less, which are left alone here. Other interpreters than CPython keep theirs elsewhere; nothing
    is done there.
    """
    if len(secret) > 1 and platform.python_implementation() == "CPython":
        # The content of a bytes object ends one byte, a zero, before the object does.
        ctypes.memset(id(secret) + bytes.__basicsize__ - 1, 0, len(secret))


def _best_mapping(size: int, kinds: tuple[MemoryKind, ...]) -> tuple[mmap.mmap, MemoryKind]:
    if "secret" in kinds and (mapping := _secret_mapping(size)) is not None:
        return mapping, "secret"
    mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    mapping.madvise(mmap.MADV_DONTDUMP)
    if "locked" in kinds and _lock(mapping, size):
        return mapping, "locked"
    return mapping, "ordinary"


def _secret_mapping(size: int) -> mmap.mmap | None:
    if platform.machine() not in _ARCHITECTURES:
        return None
    descriptor = _libc.syscall(_SYS_MEMFD_SECRET, os.O_CLOEXEC)
    if descriptor < 0:  # An old kernel, one that was told not to offer it, or a sandbox that forbids it.
        return None
    try:
        os.ftruncate(descriptor, size)
        mapping = mmap.mmap(descriptor, size)
        mapping[0] = mapping[0]  # The first touch takes the page, or would fail later.
        return mapping
    except OSError:  # RLIMIT_MEMLOCK is used up.
        return None
    finally:
        os.close(descriptor)


def _lock(mapping: mmap.mmap, size: int) -> bool:
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    return bool(_libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(size)) == 0)
