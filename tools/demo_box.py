"""The demo's customer: a box with the hardware of the machine that the demo runs on."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from licensing.device_key import SoftwareDeviceKey, open_device_key
from licensing.errors import MachineIdUnavailableError
from licensing.gpus import Gpu, GpuReading, read_gpus
from licensing.hardware import Hardware, computing_devices, read_hardware
from licensing.machine import Machine
from licensing.request import make_request
from tools.demo_page import Page

__all__ = ["Box", "measure_box"]

STAND_IN_MACHINE_ID = "5eed" * 8
"""Of a machine that does not exist."""


STAND_IN_MACHINE = Machine("5eed" * 8, "a stand-in of the demo")
"""A machine that does not exist."""

GPUS_NAMED = 4


@dataclass(frozen=True)
class Box:
    """The customer's box.

    Attributes:
        home: the customer's home.
        hardware: as measured, or with a stand-in for a machine ID that the system does not have.
        problem: why there is a stand-in.
    """

    home: Path
    hardware: Hardware
    problem: MachineIdUnavailableError | None = None

    @property
    def gpus(self) -> list[Gpu]:
        """The GPUs and MIG instances that a license is asked for."""
        return computing_devices(self.hardware.gpus.gpus)

    @property
    def gpu_options(self) -> list[str]:
        """What `weightlock request` must be told: nothing, unless a GPU cannot be read."""
        if not self.hardware.gpus.problems:
            return []
        return [f"--gpu {index}" for index in sorted({gpu.index for gpu in self.gpus})] or ["--gpu none"]

    def request(self, now: datetime) -> bytes:
        """Returns a license request for all GPUs of the box."""
        device_key = open_device_key(self.home, self.hardware.machine, for_signing=True)
        assert isinstance(device_key, SoftwareDeviceKey)  # It is the demo that made this home.
        return make_request(device_key, self.hardware, self.gpus, now)

    def with_gpu(self, gpu: Gpu) -> "Box":
        """Returns the same box with one other GPU in place of its own."""
        return replace(self, hardware=replace(self.hardware, gpus=GpuReading((gpu,))))

    def with_machine(self, machine: Machine) -> "Box":
        """Returns another box: the same files and GPUs, and another machine ID."""
        return replace(self, hardware=replace(self.hardware, machine=machine))


def measure_box(home: Path) -> Box:
    """Measures the hardware of this machine."""
    try:
        return Box(home, read_hardware())
    except MachineIdUnavailableError as problem:
        return Box(home, Hardware(STAND_IN_MACHINE, read_gpus()), problem)


def describe_box(page: Page, box: Box) -> None:
    """Prints what a license can bind to on a box."""
    if box.problem is None:
        page.say(f"machine: ID from {box.hardware.machine.source}, sent as a keyed hash")
    else:
        page.note(f"machine: {box.problem.message}; the real command would end here, and say:")
        for hint in box.problem.hints:
            page.note(f"hint: {hint}")
        page.note("the demo goes on with a stand-in for the machine ID")
    for problem in box.hardware.gpus.problems:
        page.note(f"GPU: {problem}")
    for gpu in box.gpus[:GPUS_NAMED]:
        page.say(f"GPU: {gpu.label}")
    if len(box.gpus) > GPUS_NAMED:
        page.say(f"and {len(box.gpus) - GPUS_NAMED} more")
    if not box.gpus:
        page.say("GPU: no NVIDIA GPU here, so the license will bind to the machine alone")
    elif len(box.gpus) == 1:
        page.say("the license will bind to this GPU in this machine")
    else:
        page.say("the license will bind to these GPUs in this machine, and any one of them will do")
