"""Letting one process at a time change what lies in a directory."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["locked_directory"]


@contextlib.contextmanager
def locked_directory(directory: Path) -> Iterator[None]:
    """Holds a directory's lock; other processes that want it wait.

    Some network file systems know no locks. There, two processes that change the directory in the same instant are
    not told apart, so that each file in it must still be written whole or not at all.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
