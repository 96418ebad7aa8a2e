"""License, license request and trust file as what they have in common: JSON, with a signed text inside or without."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from licensing.errors import WeightlockError
from licensing.files import read_bounded
from licensing.license import LICENSE_TYPE, MAX_LICENSE_BYTES, LicenseFile
from licensing.request import MAX_REQUEST_BYTES, REQUEST_TYPE, read_request
from licensing.trust import MAX_TRUST_BYTES, TrustedKeys
from licensing.unlock import step_3_verify_signature, step_4_read_claims
from tests.lock_scene import Scene
from tests.raw_jws import from_b64, raw_jws

__all__ = ["KINDS", "SIGNED_KINDS", "Kind", "kind_of"]

SIGNED_KINDS = ("license", "request")
KINDS = (*SIGNED_KINDS, "trust")


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        data: an intact file.
        use: parses a file as far as its signature and its claims.
        read: reads it from a path.
        reason: why one is refused that breaks a rule.
        max_bytes: how long it may be.
        signed: what signs the JWS in it, and its `typ`; None for a trust file.
    """

    name: str
    data: bytes
    use: Callable[[bytes], object]
    read: Callable[[Path], object]
    reason: str
    max_bytes: int
    signed: tuple[Ed25519PrivateKey | RSAPrivateKey, str] | None

    def header_and_payload(self) -> tuple[bytes, bytes]:
        header, payload, _ = json.loads(self.data)[self.name].split(".")
        return from_b64(header), from_b64(payload)

    def with_signed(self, header: bytes, payload: bytes) -> bytes:
        """Returns a file around a signed text with this header and payload."""
        assert self.signed is not None
        return json.dumps({**json.loads(self.data), self.name: raw_jws(header, payload, self.signed[0])}).encode()

    def with_member(self, member: str) -> bytes:
        """Returns the file with one more member where unknown ones are ignored; "z" sorts behind all others."""
        if self.signed is None:
            return self.data[:-1] + b"," + member.encode("utf-8", "surrogatepass") + b"}"
        header, payload = self.header_and_payload()
        return self.with_signed(header, payload[:-1] + b"," + member.encode("utf-8", "surrogatepass") + b"}")

    def refusal(self, data: bytes) -> str:
        with pytest.raises(WeightlockError) as refusal:
            self.use(data)
        return refusal.value.reason


def kind_of(name: str, scene: Scene) -> Kind:
    """Returns one of KINDS, with a fresh file of the scene."""
    vendor_key, device_key = scene.signing_key, scene.box.device_key._private_key
    assert isinstance(vendor_key, Ed25519PrivateKey)
    if name == "trust":
        data = (scene.box.home / "trust.jwks").read_bytes()
        return Kind("trust", data, TrustedKeys.parse, TrustedKeys.read, "trust_malformed", MAX_TRUST_BYTES, None)
    if name == "request":
        return Kind(
            "request",
            scene.box.request(),
            read_request,
            lambda path: read_request(read_bounded(path, "license request", MAX_REQUEST_BYTES)),
            "request_malformed",
            MAX_REQUEST_BYTES,
            (device_key, REQUEST_TYPE),
        )

    def use(data: bytes) -> None:
        file = LicenseFile.parse(data)
        step_3_verify_signature(file, vendor_key.public_key())
        step_4_read_claims(file)

    license = scene.issue()
    return Kind(
        "license", license, use, scene.unlock, "license_malformed", MAX_LICENSE_BYTES, (vendor_key, LICENSE_TYPE)
    )
