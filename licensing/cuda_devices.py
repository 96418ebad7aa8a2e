"""The GPUs as CUDA numbers them in this process: what "cuda:N" is. docs/spec/license.md, section 7.3.

The driver itself is asked, because nothing else knows: it reads CUDA_VISIBLE_DEVICES (indices, UUIDs, beginnings of
UUIDs, MIG instances, in any order) and CUDA_DEVICE_ORDER when it starts, and keeps to what it read for as long as the
process lives. Whoever asks it first thereby also settles what the framework finds afterwards.

It is reached through ctypes, and not through `cuda-bindings`: five functions are needed, of the very library that the
framework loads, and a customer who runs ONNX Runtime has no use for another package. docs/adr/0010.
"""

import ctypes
import re
import uuid
from dataclasses import dataclass
from typing import Any

from licensing.driver_library import DriverLibrary, library_of
from licensing.errors import UsageError

__all__ = ["CudaReading", "cuda_index", "read_cuda"]

_LIBRARY = "libcuda.so.1"
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE: none is there, or CUDA_VISIBLE_DEVICES hides all.
_DEVICES_MAX = 1024


@dataclass(frozen=True)
class CudaReading:
    """What CUDA said.

    Attributes:
        uuids: of its devices, in its order, without the letters before them: "5b1f3c2d-7e84-…". That of a MIG
            instance is the instance's own.
        library: the file that answered.
        problem: why it did not; None where it did.
        names_instances: whether it tells MIG instances from the GPU that they divide, as drivers do from R470 on.
    """

    uuids: tuple[str, ...] = ()
    library: DriverLibrary | None = None
    problem: str | None = None
    names_instances: bool = True


def cuda_index(device: str) -> int | None:
    """Returns N for "cuda:N", 0 for "cuda", and None for a device that is none of CUDA's, such as "cpu".

    Raises:
        UsageError: it begins like one of CUDA's, and is none.
    """
    if device.partition(":")[0] != "cuda":
        return None
    found = re.fullmatch("cuda(?::([0-9]{1,3}))?", device, re.ASCII)
    if not found:
        raise UsageError(f"there is no device {device[:20]!r}", "write cpu or cuda:N")
    return int(found[1] or "0")


def read_cuda() -> CudaReading:
    """Asks CUDA for its devices. This starts CUDA in this process, as the framework would a moment later."""
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError as cause:
        return CudaReading(problem=f"the CUDA driver's library does not load: {cause}")
    names_instances = hasattr(driver, "cuDeviceGetUuid_v2")
    try:
        get_uuid = driver.cuDeviceGetUuid_v2 if names_instances else driver.cuDeviceGetUuid
        library = library_of(get_uuid)
        code = driver.cuInit(0)
        if code == _NO_DEVICE:
            return CudaReading((), library, None, names_instances)
        _check(driver, code)
        return CudaReading(_uuids(driver, get_uuid), library, None, names_instances)
    except AttributeError as cause:
        return CudaReading(problem=f"the CUDA driver is too old, or none: {cause}")
    except _CudaError as cause:
        return CudaReading((), library, f"the CUDA driver does not answer: {cause}", names_instances)


class _CudaError(Exception):
    """A function of the driver failed; the message is CUDA's name of the error."""


def _uuids(driver: Any, get_uuid: Any) -> tuple[str, ...]:
    count = ctypes.c_int()
    _check(driver, driver.cuDeviceGetCount(ctypes.byref(count)))
    if not 0 <= count.value <= _DEVICES_MAX:
        raise _CudaError(f"it counts {count.value} devices, which no machine holds")
    found = []
    for index in range(count.value):
        device, octets = ctypes.c_int(), (ctypes.c_ubyte * 16)()
        _check(driver, driver.cuDeviceGet(ctypes.byref(device), index))
        _check(driver, get_uuid(octets, device))
        found.append(str(uuid.UUID(bytes=bytes(octets))))
    return tuple(found)


def _check(driver: Any, code: int) -> None:
    if code == 0:
        return
    name = ctypes.c_char_p()
    known = driver.cuGetErrorName(code, ctypes.byref(name)) == 0 and name.value
    raise _CudaError(name.value.decode("ascii", "replace") if known and name.value else f"error {code}")
