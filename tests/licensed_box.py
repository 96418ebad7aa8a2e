"""One customer's box with a license, made once per test run: device key, request, vendor's signature, trust file."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cryptors import Header
from licensing.device_key import create_device_key
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware
from licensing.issue import ModelKey, Terms, issue_license
from licensing.jwk import thumbprint
from licensing.machine import Machine
from licensing.request import LicenseRequest, make_request, read_request
from licensing.trust import TrustedKeys

__all__ = ["LicensedBox", "licensed_box"]

HARDWARE = Hardware(
    Machine("8a1c0f6e5d3b49728e6f7a0b1c2d3e4f", "/etc/machine-id"),
    GpuReading((Gpu("GPU-5b1f3c2d-7e84-4a96-b0d1-92c3e4f5a6b7", "NVIDIA H200", 0),)),
)


@dataclass(frozen=True)
class LicensedBox:
    """A box to which a vendor issues licenses.

    Attributes:
        home: the customer's home, with the device key.
        trust: the vendor's trust file; it lies outside the home, so that tests must name it.
        hardware: what the box measures, made by hand.
    """

    home: Path
    trust: Path
    hardware: Hardware
    request: LicenseRequest
    signing_key: Ed25519PrivateKey = field(repr=False)

    def license(self, path: Path, models: Iterable[tuple[Header, bytes]]) -> Path:
        """Writes a license for these models, given by their headers and content keys; it holds from now on."""
        now = datetime.now(timezone.utc)
        keys = [ModelKey(header.model_id, header.key_id, header.name, key) for header, key in models]
        terms = Terms("Löwe AI", "Acme", now + timedelta(days=90))
        path.write_bytes(issue_license(self.request, keys, terms, self.signing_key, now).data)
        return path

    def unlocking(self, license: Path) -> dict[str, Any]:
        """Returns the arguments with which `decrypt`, `load` and `load_model` use a license on this box."""
        return {"license": license, "trust": self.trust, "home": self.home, "hardware": self.hardware}

    def arguments(self, license: Path) -> tuple[str, ...]:
        """Returns the same for `weightlock run`; the hardware is what `licensing.unlock` measures."""
        return ("--license", str(license), "--trust", str(self.trust), "--home", str(self.home))


@pytest.fixture(scope="session")
def licensed_box(tmp_path_factory: pytest.TempPathFactory) -> LicensedBox:
    """Returns the box. Tests write nothing into its home."""
    folder = tmp_path_factory.mktemp("licensed-box")
    home, trust = folder / "home", folder / "trust.jwks"
    signing_key = Ed25519PrivateKey.generate()
    public_key = signing_key.public_key()
    trust.write_bytes(TrustedKeys({thumbprint(public_key): public_key}).to_bytes())
    device_key = create_device_key(home, HARDWARE.machine)
    request = make_request(device_key, HARDWARE, HARDWARE.gpus.gpus, datetime.now(timezone.utc))
    return LicensedBox(home, trust, HARDWARE, read_request(request), signing_key)
