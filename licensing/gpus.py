"""GPUs as NVML reports them: all of them, with names, and MIG instances with the GPU that they are part of.

docs/spec/license.md, section 7. NVML is reached through `pynvml` (distribution nvidia-ml-py), which loads the
driver's library; without a driver the reading says so, and that is no error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["GPU_UUID_PATTERN", "MIG_UUID_PATTERN", "Gpu", "GpuReading", "read_gpus"]

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
GPU_UUID_PATTERN = f"GPU-{_UUID}"
MIG_UUID_PATTERN = f"MIG-{_UUID}|MIG-GPU-{_UUID}/[0-9]{{1,3}}/[0-9]{{1,3}}"
"""MIG UUIDs in today's form and in the form of drivers before R470."""


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG instance of a GPU.

    Attributes:
        uuid: "GPU-…" or "MIG-…", as `nvidia-smi -L` prints it.
        name: the product's name.
        index: NVML's number of the GPU (of the parent, for a MIG instance).
        parent_uuid: for a MIG instance, the UUID of its GPU.
        mig_enabled: for a GPU, whether it is divided into MIG instances.
    """

    uuid: str
    name: str
    index: int
    parent_uuid: str | None = None
    mig_enabled: bool = False

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
    """

    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None
    problems: tuple[str, ...] = ()


def _import_pynvml() -> Any:
    import pynvml

    return pynvml


def read_gpus(nvml: Callable[[], Any] = _import_pynvml) -> GpuReading:
    """Measures the GPUs of this box.

    Args:
        nvml: returns the module to ask; by default pynvml.

    Returns:
        What could be read, and sentences about what could not: a GPU that has failed does not hide the others.
    """
    module = nvml()
    try:
        module.nvmlInitWithFlags(0)
    except (module.NVMLError_LibraryNotFound, module.NVMLError_DriverNotLoaded):
        return GpuReading()
    except module.NVMLError as cause:
        return GpuReading(problems=(f"the NVIDIA driver does not answer: {cause}",))
    try:
        return _read_all(module)
    finally:
        try:
            module.nvmlShutdown()
        except module.NVMLError:
            pass


def _read_all(module: Any) -> GpuReading:
    gpus: list[Gpu] = []
    problems: list[str] = []
    driver_version = None
    try:
        driver_version = _text(module.nvmlSystemGetDriverVersion())
        count = module.nvmlDeviceGetCount()
    except module.NVMLError as cause:
        return GpuReading((), driver_version, (f"the NVIDIA driver does not answer: {cause}",))
    for index in range(count):
        try:
            gpus.extend(_read_one(module, index, problems))
        except module.NVMLError as cause:
            problems.append(f"GPU {index} cannot be read: {cause}")
    return GpuReading(tuple(gpus), driver_version, tuple(problems))


def _read_one(module: Any, index: int, problems: list[str]) -> list[Gpu]:
    handle = module.nvmlDeviceGetHandleByIndex(index)
    uuid = _text(module.nvmlDeviceGetUUID(handle)).strip()
    name = _text(module.nvmlDeviceGetName(handle)).strip() or "NVIDIA GPU"
    try:
        current_mode, _pending = module.nvmlDeviceGetMigMode(handle)
    except module.NVMLError:  # GPUs and drivers without MIG answer "not supported".
        current_mode = 0
    parent = Gpu(uuid, name, index, mig_enabled=bool(current_mode))
    return [parent, *(_read_mig_instances(module, handle, parent, problems) if parent.mig_enabled else [])]


def _read_mig_instances(module: Any, handle: Any, parent: Gpu, problems: list[str]) -> list[Gpu]:
    instances = []
    for number in range(module.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            instance = module.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            uuid = _text(module.nvmlDeviceGetUUID(instance)).strip()
            name = _text(module.nvmlDeviceGetName(instance)).strip() or f"MIG instance of {parent.name}"
        except module.NVMLError_NotFound:  # An unused place; used ones need not be the first.
            continue
        except module.NVMLError as cause:
            problems.append(f"MIG instance {number} of GPU {parent.index} cannot be read: {cause}")
            continue
        instances.append(Gpu(uuid, name, parent.index, parent_uuid=parent.uuid))
    return instances


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
