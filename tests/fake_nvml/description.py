"""What a test says about a box: its driver, its GPUs and what fails. nvml.c and cuda.c explain the files."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["EVERY_FUNCTION", "Box", "Failure", "FakeGpu", "FakeMig"]

EVERY_FUNCTION = "*"


@dataclass(frozen=True)
class Failure:
    """One function of NVML that answers with an error code.

    Attributes:
        code: as in nvml.h, such as 15 for a lost GPU.
        symbol: the C function's name; by default, all that are asked about the device.
    """

    code: int
    symbol: str = EVERY_FUNCTION


@dataclass(frozen=True)
class FakeMig:
    """A MIG instance. Places without an instance answer "not found"."""

    place: int
    uuid: str | bytes
    name: str | bytes = "NVIDIA H200 MIG 1g.18gb"
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class FakeGpu:
    """A GPU, by default a healthy one whose MIG mode is off. Text goes to the library as it is, bytes as well.

    `virtualization` is as in nvml.h, such as 1 for a GPU that is passed through and 2 for a virtual one.
    """

    uuid: str | bytes
    name: str | bytes = "NVIDIA H200"
    mig_mode: Literal["unsupported", "off", "on"] = "off"
    mig_places: int = 7
    instances: tuple[FakeMig, ...] = ()
    serial: str | None = None
    pci_bus_id: str | None = None
    virtualization: int | None = None
    failures: tuple[Failure, ...] = ()

    def lines(self) -> list[bytes]:
        """Returns the statements about this GPU, its instances last."""
        found = [_line("gpu", self.uuid, self.name), _line("places", self.mig_places)]
        found += [_line("fails", each.symbol, each.code) for each in self.failures]
        if self.mig_mode != "unsupported":
            found.append(_line("mode", self.mig_mode))
        if self.serial is not None:
            found.append(_line("serial", self.serial))
        if self.pci_bus_id is not None:
            found.append(_line("pci", self.pci_bus_id))
        if self.virtualization is not None:
            found.append(_line("virtual", self.virtualization))
        for instance in self.instances:
            found.append(_line("mig", instance.place, instance.uuid, instance.name))
            found += [_line("fails", each.symbol, each.code) for each in instance.failures]
        return found


@dataclass(frozen=True)
class Box:
    """Everything that NVML and CUDA say about one box.

    Attributes:
        gpus: in NVML's order.
        driver_version: as the driver says it.
        count: the number of GPUs that the driver claims, where it differs from the truth.
        failures: functions that fail as such, whatever they are asked about.
        cuda: the GPUs as CUDA has them, where those are others, or in another order, than NVML's.
        cuda_failures: functions of CUDA that fail.
        cuda_count: the number of devices that CUDA claims, where it differs from the truth.
    """

    gpus: tuple[FakeGpu, ...] = ()
    driver_version: str | bytes = "580.159.04"
    count: int | None = None
    failures: tuple[Failure, ...] = ()
    cuda: tuple[FakeGpu, ...] | None = None
    cuda_failures: tuple[Failure, ...] = ()
    cuda_count: int | None = None

    def encode(self) -> bytes:
        """Returns the description file."""
        lines = [_line("driver", self.driver_version)]
        lines += [_line("error", each.symbol, each.code) for each in self.failures]
        if self.count is not None:
            lines.append(_line("count", self.count))
        for gpu in self.gpus:
            lines += gpu.lines()
        return b"".join(lines)

    def encode_cuda(self) -> bytes:
        """Returns the description file of CUDA, which cuda.c explains."""
        lines = [_line("error", each.symbol, each.code) for each in self.cuda_failures]
        if self.cuda_count is not None:
            lines.append(_line("count", self.cuda_count))
        for gpu in self.gpus if self.cuda is None else self.cuda:
            lines.append(_line("gpu", gpu.uuid))
            lines += [_line("mig", instance.uuid) for instance in gpu.instances if gpu.mig_mode == "on"]
        return b"".join(lines)


def _line(*fields: str | bytes | int) -> bytes:
    encoded = [each if isinstance(each, bytes) else str(each).encode() for each in fields]
    if any(byte in each for each in encoded for byte in b"\t\n\0"):
        raise ValueError("a field of a fake NVML description cannot hold a tab, a line break or a zero byte")
    return b"\t".join(encoded) + b"\n"
