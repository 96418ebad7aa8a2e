"""Customers' boxes: a home with a device key in software or in a TPM, and the hardware that a license can name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from licensing.device_key import DeviceKey, SoftwareDeviceKey, create_device_key
from licensing.enrolment_box import make_tpm_request, respond
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware
from licensing.machine import Machine
from licensing.request import make_request
from licensing.tpm_device_key import TpmDeviceKey, create_tpm_device_key
from licensing.vendor_home import VendorHome
from tests.software_tpm import SoftwareTpm, TpmFactory

__all__ = ["GPU", "OTHER_GPU", "OTHER_MACHINE", "CustomerBox", "new_box", "request_of"]

GPU = Gpu("GPU-3b0f6f6e-6d0f-4a8e-9c55-1f4f0a9d2b71", "NVIDIA H200", 0)
OTHER_GPU = Gpu("GPU-a1d7c5e2-08b4-4c39-8e6f-5d2b7f1c9e04", "NVIDIA H200", 0)
OTHER_MACHINE = Machine("7c1f0b9e4d3a4625a8f05b6c2e9d1347", "/etc/machine-id")


@dataclass(frozen=True)
class CustomerBox:
    """A customer's box."""

    home: Path
    hardware: Hardware
    device_key: DeviceKey = field(repr=False)
    tpm: SoftwareTpm | None = None

    def with_gpus(self, *gpus: Gpu) -> CustomerBox:
        """Returns the box with other GPUs in it."""
        return replace(self, hardware=Hardware(self.hardware.machine, GpuReading(gpus)))

    def on_machine(self, machine: Machine) -> CustomerBox:
        """Returns what a copy of the home is on another machine."""
        return replace(self, hardware=Hardware(machine, self.hardware.gpus))


def new_box(home: Path, hardware: Hardware, makers: TpmFactory | None) -> CustomerBox:
    """Makes a box; with makers of TPMs, its device key is in a TPM of its own."""
    if makers is None:
        return CustomerBox(home, hardware, create_device_key(home, hardware.machine))
    tpm = makers.new(home.name)
    return CustomerBox(home, hardware, create_tpm_device_key(home, tpm.tcti), tpm)


def request_of(
    box: CustomerBox, gpus: tuple[Gpu, ...], vendor: VendorHome, makers: TpmFactory | None, now: datetime
) -> bytes:
    """Returns what a vendor issues a license to: a request, or in the tier `tpm` the response to a challenge."""
    if isinstance(box.device_key, SoftwareDeviceKey):
        return make_request(box.device_key, box.hardware, gpus, now)
    assert makers is not None
    assert isinstance(box.device_key, TpmDeviceKey)
    request = make_tpm_request(box.device_key, box.home, box.hardware, gpus, now)
    challenge = vendor.challenge(request, makers.maker.bundle.read_bytes(), now)
    return respond(box.device_key, box.home, challenge.challenge.to_bytes(), now)
