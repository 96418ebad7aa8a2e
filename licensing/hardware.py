"""The measured hardware of this box: its machine and its GPUs. docs/spec/license.md, section 7."""

from collections.abc import Callable
from dataclasses import dataclass, field

from licensing.cuda_devices import CudaReading, read_cuda
from licensing.gpus import Gpu, GpuReading, read_gpus
from licensing.kernel_gpus import KernelGpus, read_kernel_gpus
from licensing.machine import Machine, read_machine

__all__ = ["Hardware", "read_hardware"]


@dataclass(frozen=True)
class Hardware:
    """One box, as measured. Tests and callers with their own probes make it by hand.

    Attributes:
        machine: the machine ID and its source.
        gpus: what NVML reported; by default, no GPU.
        kernel: what the kernel's driver lists; None where it lists nothing.
        cuda: asks CUDA for its devices, when a license is for a GPU and one of them is to compute. Without it, any
            GPU of the box may.
    """

    machine: Machine
    gpus: GpuReading = field(default_factory=GpuReading)
    kernel: KernelGpus | None = None
    cuda: Callable[[], CudaReading] | None = field(default=None, compare=False, repr=False)

    def identities(self) -> dict[str, Gpu]:
        """Returns what slots can bind to here: each GPU's UUID, and each MIG instance's under its GPU."""
        return {gpu.identity: gpu for gpu in self.gpus.gpus}


def read_hardware() -> Hardware:
    """Measures this box.

    Raises:
        MachineIdUnavailableError: the system has no stable machine ID.
    """
    machine, gpus = read_machine(), read_gpus()
    return Hardware(machine, gpus, read_kernel_gpus() if gpus.gpus else None, read_cuda)


def computing_devices(gpus: tuple[Gpu, ...]) -> list[Gpu]:
    """Returns the devices that programs compute on: MIG instances instead of the GPUs that they divide."""
    divided = {gpu.parent_uuid for gpu in gpus if gpu.parent_uuid is not None}
    return [gpu for gpu in gpus if gpu.uuid not in divided]
