"""Root without the power to pass over the permissions of files: what tests of permissions need in one process."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

__all__ = ["obeying_permissions"]

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
_VERSION_3 = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def obeying_permissions() -> Iterator[None]:
    """Takes capset(2)'s two capabilities from this thread for a while; another user has them not anyway."""
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    _call(_libc.capget, header, data)
    before = data[0].effective
    data[0].effective = before & ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    _call(_libc.capset, header, data)
    try:
        yield
    finally:
        data[0].effective = before
        _call(_libc.capset, header, data)


def _call(function: "ctypes._NamedFuncPointer", header: _Header, data: "ctypes.Array[_Data]") -> None:
    if function(ctypes.byref(header), ctypes.byref(data)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
