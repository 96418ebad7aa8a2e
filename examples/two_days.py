"""The vendor's day and the customer's day, through the Python interface.

    python examples/two_days.py

Vendor and customer are two folders here; in life they are two machines, and three files travel between them: the
license request, the license, and once the trust file.
"""

import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import torch

from cryptors import EncryptOptions, load_model, lock_model
from licensing import LicensingError, create_device_key, make_request, read_hardware
from licensing.hardware import computing_devices
from licensing.vendor_home import VendorHome


def vendor_locks(folder: Path, model: Path, locked: Path) -> str:
    """The vendor makes a home once, and encrypts each model once; returns the model's id."""
    vendor = VendorHome.create(folder, name="Acme Vision")
    return lock_model(vendor, model, locked, options=EncryptOptions(name="network")).model_id


def customer_asks(folder: Path) -> bytes:
    """The customer's box makes its device key and a license request."""
    hardware = read_hardware()
    device_key = create_device_key(folder, hardware.machine)
    return make_request(device_key, hardware, computing_devices(hardware.gpus.gpus), datetime.now(timezone.utc))


def vendor_issues(folder: Path, request: bytes, model_id: str) -> bytes:
    """The vendor answers the request with a license for thirty days."""
    now = datetime.now(timezone.utc)
    issued = VendorHome.open(folder).issue(
        request,
        [model_id],
        customer="Beta GmbH",
        expires=now + timedelta(days=30),
        now=now,
        allow_no_gpu=True,  # So that the example runs on boxes without an NVIDIA GPU, too.
    )
    return issued.data


def main(folder: Path) -> None:
    network = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(8, 2), torch.nn.Tanh()))
    torch.jit.save(network, folder / "network.pt")
    locked, vendor, customer = folder / "network.pt.locked", folder / "vendor", folder / "customer"

    model_id = vendor_locks(vendor, folder / "network.pt", locked)
    request = customer_asks(customer)
    (folder / "beta.lic").write_bytes(vendor_issues(vendor, request, model_id))
    trust = vendor / "trust.jwks"

    unlocked = load_model(locked, license=folder / "beta.lic", trust=trust, home=customer)
    inputs = torch.ones(1, 8)
    assert torch.equal(network(inputs), unlocked(inputs))
    print("the licensed box gives the same output:", unlocked(inputs).tolist())

    try:
        later = datetime.now(timezone.utc) + timedelta(days=31)
        load_model(locked, license=folder / "beta.lic", trust=trust, home=customer, now=later)
    except LicensingError as refusal:
        print("a month later:", refusal.message)
        assert refusal.reason == "expired"
    else:
        raise AssertionError("the license did not end")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
