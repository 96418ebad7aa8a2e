"""Having a file's space on the disk before it is written: a full disk shows at once, and writes go on side by side."""

import ctypes
import errno
import os

__all__ = ["reserve_space"]


def reserve_space(descriptor: int, file_bytes: int) -> None:
    """Makes a file so long and gives it the space, where the file system can do that; its content becomes zeros.

    Not `os.posix_fallocate`: where the file system cannot, it writes to every block of the file, which takes as long as
    writing the file itself, and longer over a network.

    Raises:
        OSError: there is not so much space.
    """
    library = ctypes.CDLL(None, use_errno=True)
    # On systems of 32 bits, the function of the shorter name takes lengths of 32 bits; musl has that one alone.
    fallocate = getattr(library, "fallocate64", None) or library.fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(descriptor, 0, 0, file_bytes) != 0:
        error = ctypes.get_errno()
        if error in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(error, os.strerror(error))
