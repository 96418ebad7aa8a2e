"""GPUs as NVML reports them: all of them, with names, and MIG instances with the GPU that they are part of.

docs/spec/license.md, section 7. NVML is reached through `pynvml` (distribution nvidia-ml-py), which loads the
driver's library; without a driver the reading says so, and that is no error.
"""

import ctypes
import errno
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from licensing.driver_library import DriverLibrary, library_of

__all__ = ["GPU_UUID_PATTERN", "MIG_UUID_PATTERN", "Gpu", "GpuReading", "read_gpus"]

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
GPU_UUID_PATTERN = f"GPU-{_UUID}"
MIG_UUID_PATTERN = f"MIG-{_UUID}|MIG-GPU-{_UUID}/[0-9]{{1,3}}/[0-9]{{1,3}}"
"""MIG UUIDs in today's form and in the form of drivers before R470."""

_LIBRARY = "libnvidia-ml.so.1"
_GPUS_MAX = 1024
_MIG_PLACES_MAX = 64
"""Far more than any box holds (16 GPUs, of 7 instances each): a driver that counts further is not believed."""


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG instance of a GPU.

    Attributes:
        uuid: "GPU-…" or "MIG-…", as `nvidia-smi -L` prints it.
        name: the product's name.
        index: NVML's number of the GPU (of the parent, for a MIG instance).
        parent_uuid: for a MIG instance, the UUID of its GPU.
        mig_enabled: for a GPU, whether it is divided into MIG instances.
        is_virtual: whether it is a virtual GPU, or a MIG instance of one, as the driver says.
    """

    uuid: str
    name: str
    index: int
    parent_uuid: str | None = None
    mig_enabled: bool = False
    is_virtual: bool = False

    @property
    def identity(self) -> str:
        """What a slot binds to: the UUID, and for a MIG instance the parent's UUID before it."""
        return self.uuid if self.parent_uuid is None else f"{self.parent_uuid}/{self.uuid}"

    @property
    def label(self) -> str:
        """A short text for people: the name and the first part of the UUID."""
        kind, _, rest = self.uuid.partition("-")
        return f"{self.name} ({kind}-{rest[:8]}…)"


@dataclass(frozen=True)
class GpuReading:
    """What NVML said.

    Attributes:
        gpus: every GPU, each followed by its MIG instances.
        driver_version: such as "580.159.04"; None without a driver.
        problems: one sentence for each thing that could not be read; empty on a healthy box, and on one without
            an NVIDIA driver.
        library: the file that answered; None where nothing did, or the system does not say. It is no part of what
            was said.
    """

    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None
    problems: tuple[str, ...] = ()
    library: DriverLibrary | None = field(default=None, compare=False)


def read_gpus() -> GpuReading:
    """Measures the GPUs of this box.

    Returns:
        What could be read, and sentences about what could not: a GPU that has failed does not hide the others.
    """
    if "pynvml" not in sys.modules and _library_is_missing():
        return GpuReading()
    import pynvml as module

    try:
        module.nvmlInitWithFlags(0)
    except module.NVMLError_DriverNotLoaded:
        return GpuReading()
    except module.NVMLError_LibraryNotFound as cause:
        return GpuReading(problems=_loading_problems(cause))
    except module.NVMLError as cause:
        return GpuReading(problems=(f"the NVIDIA driver does not answer: {_words(cause)}",))
    try:
        return replace(_read_all(module), library=_answering(module))
    finally:
        try:
            module.nvmlShutdown()
        except module.NVMLError:
            pass


def _library_is_missing() -> bool:
    """Asks the loader as pynvml does, whose import takes longer than the whole unlocking of a model."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError as cause:
        return _says_missing(cause)
    return False


def _says_missing(cause: OSError) -> bool:
    return _LIBRARY in str(cause) and os.strerror(errno.ENOENT) in str(cause)


def _loading_problems(cause: Exception) -> tuple[str, ...]:
    """Tells a library that does not load from one that is not there, which is no problem.

    pynvml raises the same error for both, with the loader's own as its context. A file that does not load is
    nothing rare: images made under NVIDIA's container runtime keep an empty one where it mounted the driver's.
    """
    loader = cause.__context__
    if not isinstance(loader, OSError) or _says_missing(loader):
        return ()
    return (f"the NVIDIA driver's library does not load: {loader}",)


def _read_all(module: Any) -> GpuReading:
    gpus: list[Gpu] = []
    problems: list[str] = []
    driver_version = None
    try:
        driver_version = _text(module.nvmlSystemGetDriverVersion) or None
        count = module.nvmlDeviceGetCount()
    except module.NVMLError as cause:
        return GpuReading((), driver_version, (f"the NVIDIA driver does not answer: {_words(cause)}",))
    if count > _GPUS_MAX:
        return GpuReading((), driver_version, (f"the NVIDIA driver counts {count} GPUs, which no machine holds",))
    for index in range(count):
        try:
            gpus.extend(_read_one(module, index, problems))
        except module.NVMLError as cause:
            problems.append(f"GPU {index} cannot be read: {_words(cause)}")
    return GpuReading(tuple(gpus), driver_version, tuple(problems))


def _answering(module: Any) -> DriverLibrary | None:
    """Returns the file that holds the function which says the UUIDs."""
    function = getattr(getattr(module, "nvmlLib", None), "nvmlDeviceGetUUID", None)
    return None if function is None else library_of(function)


def _read_one(module: Any, index: int, problems: list[str]) -> list[Gpu]:
    handle = module.nvmlDeviceGetHandleByIndex(index)
    uuid = _text(module.nvmlDeviceGetUUID, handle)
    if not re.fullmatch(GPU_UUID_PATTERN, uuid):
        problems.append(f"GPU {index} has no valid UUID: {uuid!r}")
        return []
    name = _text(module.nvmlDeviceGetName, handle) or "NVIDIA GPU"
    try:
        current_mode, _pending = module.nvmlDeviceGetMigMode(handle)
    except (module.NVMLError_NotSupported, module.NVMLError_FunctionNotFound):  # GPUs and drivers without MIG.
        current_mode = 0
    except module.NVMLError as cause:  # The GPU is known all the same, but instances may be missing.
        problems.append(f"the MIG mode of GPU {index} cannot be read: {_words(cause)}")
        current_mode = 0
    parent = Gpu(uuid, name, index, mig_enabled=bool(current_mode), is_virtual=_is_virtual(module, handle))
    return [parent, *(_read_mig_instances(module, handle, parent, problems) if parent.mig_enabled else [])]


def _read_mig_instances(module: Any, handle: Any, parent: Gpu, problems: list[str]) -> list[Gpu]:
    instances = []
    for place in range(_count_mig_places(module, handle, parent, problems)):
        try:
            instance = module.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
            uuid = _text(module.nvmlDeviceGetUUID, instance)
            name = _text(module.nvmlDeviceGetName, instance) or f"MIG instance of {parent.name}"
        except module.NVMLError_NotFound:  # An unused place; used ones need not be the first.
            continue
        except module.NVMLError as cause:
            problems.append(f"MIG instance {place} of GPU {parent.index} cannot be read: {_words(cause)}")
            continue
        if not re.fullmatch(MIG_UUID_PATTERN, uuid):
            problems.append(f"MIG instance {place} of GPU {parent.index} has no valid UUID: {uuid!r}")
            continue
        instances.append(Gpu(uuid, name, parent.index, parent_uuid=parent.uuid, is_virtual=parent.is_virtual))
    return instances


def _is_virtual(module: Any, handle: Any) -> bool:
    """Tells whether a GPU is a virtual one of this virtual machine; one that is passed through whole is none.

    A driver that does not know the question has no virtual GPUs, and one that fails at it hides no GPU.
    """
    try:
        return int(module.nvmlDeviceGetVirtualizationMode(handle)) == int(module.NVML_GPU_VIRTUALIZATION_MODE_VGPU)
    except module.NVMLError:
        return False


def _count_mig_places(module: Any, handle: Any, parent: Gpu, problems: list[str]) -> int:
    try:
        count = int(module.nvmlDeviceGetMaxMigDeviceCount(handle))
    except module.NVMLError as cause:
        problems.append(f"the MIG instances of GPU {parent.index} cannot be counted: {_words(cause)}")
        return 0
    if count > _MIG_PLACES_MAX:
        problems.append(f"the NVIDIA driver counts {count} MIG instances of GPU {parent.index}, which no GPU holds")
        return 0
    return count


def _text(read: Callable[..., str | bytes], *handle: Any) -> str:
    """Returns what a function of NVML says, without whitespace around it; "" for what is not UTF-8."""
    try:
        value = read(*handle)
        return (value.decode() if isinstance(value, bytes) else value).strip()
    except UnicodeDecodeError:
        return ""


def _words(cause: Exception) -> str:
    return str(cause).rstrip(".")  # Some of NVML's sentences end with a full stop, and ours do not.
