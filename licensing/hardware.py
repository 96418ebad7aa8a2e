"""The measured hardware of this box: its machine and its GPUs. docs/spec/license.md, section 7."""

from dataclasses import dataclass, field

from licensing.gpus import Gpu, GpuReading, read_gpus
from licensing.machine import Machine, read_machine

__all__ = ["Hardware", "read_hardware"]


@dataclass(frozen=True)
class Hardware:
    """One box, as measured. Tests and callers with their own probes make it by hand.

    Attributes:
        machine: the machine ID and its source.
        gpus: what NVML reported; by default, no GPU.
    """

    machine: Machine
    gpus: GpuReading = field(default_factory=GpuReading)

    def identities(self) -> dict[str, Gpu]:
        """Returns what slots can bind to here: each GPU's UUID, and each MIG instance's under its GPU."""
        return {gpu.identity: gpu for gpu in self.gpus.gpus}


def read_hardware() -> Hardware:
    """Measures this box.

    Raises:
        MachineIdUnavailableError: the system has no stable machine ID.
    """
    return Hardware(machine=read_machine(), gpus=read_gpus())


def computing_devices(gpus: tuple[Gpu, ...]) -> list[Gpu]:
    """Returns the devices that programs compute on: MIG instances instead of the GPUs that they divide."""
    divided = {gpu.parent_uuid for gpu in gpus if gpu.parent_uuid is not None}
    return [gpu for gpu in gpus if gpu.uuid not in divided]
