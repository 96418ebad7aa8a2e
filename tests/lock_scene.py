"""A vendor, a licensed box and a stranger's box, made once per test run, for the tests of what the lock holds.

`Scene.issue` issues to the licensed box unless a test says otherwise, and `Scene.unlock` unlocks on it.
"""

import base64
import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from licensing.content_key import key_id, new_content_key
from licensing.device_key import SoftwareDeviceKey, create_device_key
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware
from licensing.issue import ModelKey, Terms, issue_license
from licensing.jwk import thumbprint
from licensing.jws import PrivateKey, sign_claims
from licensing.license import LICENSE_TYPE
from licensing.machine import Machine
from licensing.request import make_request, read_request
from licensing.trust import TrustedKeys
from licensing.unlock import UnlockedModel, unlock

__all__ = ["GPU", "MACHINE", "NOW", "OTHER_GPU", "OTHER_MACHINE", "Box", "Scene", "lock_scene", "signed_again"]

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=timezone.utc)
MACHINE = Machine("4f3d1b6a140b35aa3de1645a70a5baf7", "/etc/machine-id")
OTHER_MACHINE = Machine("0c5e8d2f7b914a6db3f04e1c28a7965b", "/etc/machine-id")
GPU = Gpu("GPU-0f5a7c52-29a1-4d3b-9b7e-0d5c3f9a1b2c", "NVIDIA H200", 0)
OTHER_GPU = Gpu("GPU-7d1e93b4-5c06-4f8a-a2d3-6b9f0e4c8a17", "NVIDIA H200", 0)


@dataclass(frozen=True)
class Box:
    """A customer's box: its home with the device key and the trust file, and its hardware."""

    home: Path
    hardware: Hardware
    device_key: SoftwareDeviceKey

    def request(self, *gpus: Gpu) -> bytes:
        """Returns a license request for these GPUs, by default all of the box."""
        return make_request(self.device_key, self.hardware, gpus or self.hardware.gpus.gpus, NOW)

    def with_gpus(self, *gpus: Gpu) -> "Box":
        """Returns the same box after its GPUs were exchanged."""
        return Box(self.home, Hardware(self.hardware.machine, GpuReading(gpus)), self.device_key)

    def on_machine(self, machine: Machine) -> "Box":
        """Returns the same home and the same GPUs in another machine."""
        return Box(self.home, Hardware(machine, self.hardware.gpus), self.device_key)


@dataclass(frozen=True)
class Scene:
    """Who takes part.

    Attributes:
        signing_key, stranger_signing_key: the vendor's, which every home trusts, and another one.
        models: two models with their content keys.
        box: the box with GPU in MACHINE, to which licenses are issued.
        stranger: another customer's box, with OTHER_GPU in OTHER_MACHINE.
        same_hardware: a box with GPU in MACHINE, but with a device key of its own.
    """

    signing_key: PrivateKey
    stranger_signing_key: PrivateKey
    models: tuple[ModelKey, ModelKey]
    box: Box
    stranger: Box
    same_hardware: Box

    @property
    def model(self) -> ModelKey:
        """The model that licenses name unless a test says otherwise."""
        return self.models[0]

    def issue(self, *models: ModelKey, box: Box | None = None, gpus: tuple[Gpu, ...] = (), **terms: Any) -> bytes:
        """Returns a license file for 30 days from NOW.

        Args:
            *models: by default, the first model alone.
            box: whose request is answered; by default, that of the licensed box.
            gpus: what the request names; by default, all GPUs of the box.
            **terms: what differs from the usual ones; `signing_key` is the key that signs, and `now` when it does.
        """
        signing_key, now = terms.pop("signing_key", self.signing_key), terms.pop("now", NOW)
        fields = {"vendor": "Löwe AI", "customer": "Acme", "expires": NOW + timedelta(days=30), **terms}
        request = read_request((box or self.box).request(*gpus))
        return issue_license(request, models or (self.model,), Terms(**fields), signing_key, now).data

    def unlock(self, license: Path, **changes: Any) -> UnlockedModel:
        """Unlocks the first model on the licensed box at NOW, except for what is changed."""
        wanted: dict[str, Any] = {
            "model_id": self.model.model_id,
            "key_id": self.model.key_id,
            "home": self.box.home,
            "hardware": self.box.hardware,
            "now": NOW,
        }
        return unlock(license, **{**wanted, **changes})


def signed_again(license_file: bytes, key: PrivateKey | None = None, **claims: Any) -> bytes:
    """Returns a license file whose claims were edited.

    Args:
        license_file: the file to edit; its grants stay as they are.
        key: signs the result; without one, the old signature stays, which no longer fits.
        **claims: the new values; None takes a claim away.
    """
    members = json.loads(license_file)
    header, payload, signature = members["license"].split(".")
    changed = {**json.loads(base64.urlsafe_b64decode(payload + "==")), **claims}
    changed = {name: value for name, value in changed.items() if value is not None}
    text = sign_claims(changed, key or Ed25519PrivateKey.generate(), LICENSE_TYPE)
    if key is None:
        text = f"{header}.{text.split('.')[1]}.{signature}"
    return json.dumps({**members, "license": text}).encode()


@pytest.fixture(scope="session")
def lock_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Returns the scene. Tests write nothing into its homes."""
    homes = tmp_path_factory.mktemp("homes")
    signing_key, stranger_signing_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public_key = signing_key.public_key()
    trust = TrustedKeys({thumbprint(public_key): public_key}).to_bytes()

    def box(name: str, machine: Machine, gpu: Gpu) -> Box:
        device_key = create_device_key(homes / name, machine)
        (homes / name / "trust.jwks").write_bytes(trust)
        return Box(homes / name, Hardware(machine, GpuReading((gpu,))), device_key)

    def model(name: str) -> ModelKey:
        content_key = new_content_key()
        return ModelKey(str(uuid.uuid4()), key_id(content_key), name, content_key)

    return Scene(
        signing_key,
        stranger_signing_key,
        (model("resnet18"), model("minilm")),
        box("licensed", MACHINE, GPU),
        box("stranger", OTHER_MACHINE, OTHER_GPU),
        box("same hardware", MACHINE, GPU),
    )
