"""Trust files, license requests and licenses, written from docs/spec/license.md alone; all inputs are fixed."""

import hmac
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from tests.vectors.reference_crypto import (
    RsaKey,
    Signer,
    b64,
    canonical,
    framed,
    hkdf,
    jws,
    oaep_encrypt,
    pseudo_random,
    sha256,
    thumbprint,
)

LICENSE_TYPE = "weightlock-license+jwt"
REQUEST_TYPE = "weightlock-request+jwt"
ISSUED = 1_796_083_200  # 2026-12-01T00:00:00Z
DAY = 86400


def fixed_uuid(label: str) -> str:
    digits = pseudo_random(label, 16).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def key_id(content_key: bytes) -> str:
    """Section 3."""
    return sha256(framed(b"weightlock/1/key-id", content_key))[:16].hex()


def machine_fingerprint(machine_id: str) -> str:
    """Section 7.1."""
    return hmac.digest(machine_id.encode(), b"weightlock/1/machine/fingerprint", "sha256").hex()


def device_key_password(machine_id: str) -> str:
    """Section 7.1."""
    return b64(hmac.digest(machine_id.encode(), b"weightlock/1/machine/device-key", "sha256"))


def slot_digest(salt: bytes, kind: str, identity: str) -> bytes:
    """Section 8."""
    return sha256(framed(b"weightlock/1/slot", salt, kind.encode(), identity.encode()))


def hardware_salt(fingerprint: str, gpu_identity: str) -> bytes:
    """Section 8."""
    return sha256(framed(b"weightlock/1/hardware", fingerprint.encode(), gpu_identity.encode()))


def key_encryption_key(secret: bytes, salt: bytes, text: str, model_id: str, model_key_id: str, slot_id: str) -> bytes:
    """Section 9."""
    names = (model_id.encode(), model_key_id.encode(), slot_id.encode())
    return hkdf(secret, salt, framed(b"weightlock/1/kek", sha256(text.encode()), *names))


@dataclass(frozen=True)
class FixedGpu:
    """A GPU, or a MIG instance with its GPU as the parent."""

    uuid: str
    name: str
    parent: str | None = None

    @property
    def identity(self) -> str:
        """Section 7.2."""
        return self.uuid if self.parent is None else f"{self.parent}/{self.uuid}"

    def members(self) -> dict[str, str]:
        members = {"uuid": self.uuid, "name": self.name}
        return members if self.parent is None else {**members, "parent": self.parent}


@dataclass(frozen=True)
class FixedModel:
    model_id: str
    name: str
    content_key: bytes

    @classmethod
    def of(cls, name: str) -> "FixedModel":
        return cls(fixed_uuid(f"model id, {name}"), name, pseudo_random(f"content key, {name}", 32))

    def members(self) -> dict[str, str]:
        return {"id": self.model_id, "kid": key_id(self.content_key), "name": self.name}


def trust_jwk(signer: Signer) -> dict[str, Any]:
    """One member of the trust file's `keys` (section 6)."""
    jwk = signer.jwk()
    return {**jwk, "kid": thumbprint(jwk), "alg": signer.algorithm, "use": "sig"}


def trust_file(*signers: Signer) -> str:
    return canonical({"keys": [trust_jwk(signer) for signer in signers]})


HISTORY = {
    "starts": 3,
    "boots": 2,
    "containers": 3,
    "since": ISSUED - 9 * DAY,
    "machine_kept": True,
    "gpus_kept": False,
}
"""The summary of a start history, section 11.1."""


def request_claims(device: RsaKey, machine_id: str, gpus: list[FixedGpu]) -> dict[str, Any]:
    """Section 11."""
    return {
        "ver": 1,
        "jti": fixed_uuid("request"),
        "iat": ISSUED - DAY,
        "tier": "software",
        "cnf": {"jwk": device.jwk()},
        "machine": {
            "fingerprint": machine_fingerprint(machine_id),
            "label": "gpu-box-1",
            "source": "/etc/machine-id",
        },
        "gpus": [gpu.members() for gpu in gpus],
        "driver": "580.159.04",
        "generator": "weightlock test vectors",
    }


def request_file(signer: Signer, claims: dict[str, Any], header: str | None = None) -> str:
    return canonical({"request": jws(signer, REQUEST_TYPE, canonical(claims), header)})


@dataclass(frozen=True)
class FixedLicense:
    """The inputs of one license. `file` issues it; bad vectors change the claims or the grants on the way.

    Attributes:
        secret: S.
        slots: GPU by slot id; None for a slot of the machine alone.
    """

    label: str
    signer: Signer
    device: RsaKey
    machine_id: str
    slots: dict[str, FixedGpu | None]
    models: tuple[FixedModel, ...]
    secret: bytes
    header: str | None = None

    @classmethod
    def of(
        cls,
        label: str,
        signer: Signer,
        device: RsaKey,
        machine_id: str,
        gpus: list[FixedGpu],
        models: tuple[FixedModel, ...],
    ) -> "FixedLicense":
        slots: dict[str, FixedGpu | None] = {f"slot-{number}": gpu for number, gpu in enumerate(gpus, start=1)}
        secret = pseudo_random(f"secret, {label}", 32)
        return cls(label, signer, device, machine_id, slots or {"slot-1": None}, models, secret)

    @property
    def salt(self) -> bytes:
        return pseudo_random(f"salt, {self.label}", 16)

    @property
    def wrapped_secret(self) -> bytes:
        return oaep_encrypt(self.device, self.secret, pseudo_random(f"OAEP seed, {self.label}", 32))

    def with_secret(self, secret: bytes) -> "FixedLicense":
        return replace(self, secret=secret)

    def claims(self) -> dict[str, Any]:
        """Section 12."""
        return {
            "ver": 1,
            "iss": "Vendor of Test Vectors",
            "sub": "ACME – 顧客 №1",
            "jti": fixed_uuid(f"license, {self.label}"),
            "iat": ISSUED,
            "nbf": ISSUED - 3600,
            "exp": ISSUED + 30 * DAY,
            "cnf": {"jkt": thumbprint(self.device.jwk())},
            "tier": "software",
            "salt": b64(self.salt),
            "slots": [self._slot(slot_id, gpu) for slot_id, gpu in self.slots.items()],
            "models": [model.members() for model in self.models],
            "features": ["batch"],
            "policy": {},
            "secret": b64(self.wrapped_secret),
            "generator": "weightlock test vectors",
        }

    def _slot(self, slot_id: str, gpu: FixedGpu | None) -> dict[str, Any]:
        digest = slot_digest(self.salt, "machine", machine_fingerprint(self.machine_id))
        members: dict[str, Any] = {"id": slot_id, "machine": {"digest": b64(digest), "label": "gpu-box-1"}}
        if gpu is not None:
            members["gpu"] = {"digest": b64(slot_digest(self.salt, "gpu", gpu.identity)), "label": gpu.name}
        return members

    def sign(self, payload: str) -> str:
        return jws(self.signer, LICENSE_TYPE, payload, self.header)

    def kek(self, text: str, model: FixedModel, slot_id: str) -> bytes:
        gpu = self.slots[slot_id]
        salt = hardware_salt(machine_fingerprint(self.machine_id), gpu.identity if gpu else "")
        return key_encryption_key(self.secret, salt, text, model.model_id, key_id(model.content_key), slot_id)

    def grants(self, text: str) -> list[dict[str, str]]:
        """Section 13: one grant for each slot and model."""
        return [
            {
                "model": model.model_id,
                "slot": slot_id,
                "key": b64(aes_key_wrap(self.kek(text, model, slot_id), model.content_key)),
            }
            for slot_id in self.slots
            for model in self.models
        ]

    def text(self) -> str:
        """L."""
        return self.sign(canonical(self.claims()))

    def file(self, payload: str | None = None) -> str:
        """The license file; `payload` replaces the right claims, with grants that fit it."""
        text = self.text() if payload is None else self.sign(payload)
        return canonical({"license": text, "grants": self.grants(text)})
