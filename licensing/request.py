"""The license request: what the box sends the vendor. docs/spec/license.md, section 11."""

import platform
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from licensing.device_key import DeviceKey, SoftwareDeviceKey
from licensing.encoding import MAX_EPOCH, from_epoch, to_epoch
from licensing.errors import RequestMalformedError, TpmProofRequiredError
from licensing.gpus import GPU_UUID_PATTERN, MIG_UUID_PATTERN, Gpu
from licensing.hardware import Hardware
from licensing.history_summary import HistorySummary, read_summary
from licensing.jwk import from_jwk, thumbprint, to_jwk
from licensing.jws import parse_signed, verify_signature
from licensing.machine import FINGERPRINT_PATTERN
from licensing.start_history import StartHistory
from licensing.strict_json import Fields, canonical, parse_object
from licensing.version import __version__

__all__ = [
    "MAX_REQUEST_BYTES",
    "REQUEST_TYPE",
    "LicenseRequest",
    "make_request",
    "read_request",
    "read_request_claims",
    "request_claims",
]

REQUEST_TYPE = "weightlock-request+jwt"
MAX_REQUEST_BYTES = 256 * 1024
MAX_GPUS = 256
REQUEST_VERSION = 1
UUID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


@dataclass(frozen=True)
class LicenseRequest:
    """A request whose signature has been verified with the key that it carries.

    The signature proves that whoever made the request holds the device key. It does not prove who that is: how
    the file reached the vendor does.
    """

    request_id: str
    created: datetime
    tier: str
    public_key: RSAPublicKey
    thumbprint: str
    machine_fingerprint: str
    machine_label: str
    machine_source: str
    gpus: tuple[Gpu, ...]
    driver_version: str | None
    generator: str
    history: HistorySummary | None = None


def make_request(
    device_key: SoftwareDeviceKey,
    hardware: Hardware,
    gpus: Sequence[Gpu],
    now: datetime,
    history: StartHistory | None = None,
) -> bytes:
    """Returns a license request file, signed by the device key that it carries.

    Args:
        device_key: signs the request; opened for signing.
        hardware: the box as measured.
        gpus: those of its GPUs and MIG instances that a license is wanted for; may be empty.
        now: the time of the request.
        history: earlier starts of the box, and this one, if the request shall say how its hardware has done.
    """
    claims = request_claims(device_key, hardware, gpus, now, history)
    return canonical({"request": device_key.sign(claims, REQUEST_TYPE)})


def request_claims(
    device_key: DeviceKey,
    hardware: Hardware,
    gpus: Sequence[Gpu],
    now: datetime,
    history: StartHistory | None = None,
) -> dict[str, Any]:
    """Returns what a request says, whatever proves it; arguments as in `make_request`."""
    claims: dict[str, Any] = {
        "ver": REQUEST_VERSION,
        "jti": str(uuid.uuid4()),
        "iat": to_epoch(now),
        "tier": device_key.tier,
        "cnf": {"jwk": to_jwk(device_key.public_key)},
        "machine": {
            "fingerprint": hardware.machine.fingerprint,
            "label": _printable(platform.node()) or "unnamed machine",
            "source": hardware.machine.source,
        },
        "gpus": [_gpu_members(gpu) for gpu in gpus],
        "generator": f"weightlock {__version__}",
    }
    if hardware.gpus.driver_version:
        claims["driver"] = _printable(hardware.gpus.driver_version)
    if history is not None:
        claims["history"] = history.summary(hardware.machine.fingerprint, gpus, claims["iat"]).claims()
    return claims


def read_request(data: bytes) -> LicenseRequest:
    """Parses a license request file and verifies its signature.

    Raises:
        RequestMalformedError: it does not follow the specification.
        SignatureInvalidError: it was changed, or signed by another key than the one it carries.
        TpmProofRequiredError: it is of the tier `tpm`, which `licensing.enrolment` reads.
    """
    outer = Fields(
        parse_object(data, "license request", RequestMalformedError, MAX_REQUEST_BYTES),
        "license request",
        RequestMalformedError,
    )
    if "tpm_request" in outer or "tpm_challenge" in outer:
        raise TpmProofRequiredError("the license request does not prove yet that its device key is in a TPM")
    if "request" not in outer:
        raise RequestMalformedError("the file is not a license request")
    outer.only("request")
    signed = parse_signed(
        outer.text("request", MAX_REQUEST_BYTES), REQUEST_TYPE, "license request", RequestMalformedError
    )
    fields = Fields(signed.claims("license request", RequestMalformedError), "license request", RequestMalformedError)
    request = read_request_claims(fields, "software")
    verify_signature(signed, request.public_key, "license request")
    if signed.kid != request.thumbprint:
        raise RequestMalformedError("the license request is signed by another key than the one it carries")
    return request


def read_request_claims(fields: Fields, tier: str) -> LicenseRequest:
    """Reads the claims of a request whose tier must be this one; what proves them is the caller's to check."""
    if fields.integer("ver") != REQUEST_VERSION:
        raise RequestMalformedError("the license request has an unknown version", "install a newer weightlock")
    public_key = _read_public_key(fields.nested("cnf").raw("jwk"))
    machine = fields.nested("machine")
    gpus = tuple(fields.array("gpus", 0, MAX_GPUS, _read_gpu))
    if len({gpu.identity for gpu in gpus}) != len(gpus):
        raise RequestMalformedError("the license request names a GPU twice")
    created = fields.integer("iat", 0, MAX_EPOCH)
    return LicenseRequest(
        request_id=fields.text("jti", 36, UUID_PATTERN),
        created=from_epoch(created),
        tier=fields.text("tier", 20, tier),
        public_key=public_key,
        thumbprint=thumbprint(public_key),
        machine_fingerprint=machine.text("fingerprint", 64, FINGERPRINT_PATTERN),
        machine_label=machine.text("label"),
        machine_source=machine.text("source"),
        gpus=gpus,
        driver_version=fields.text("driver") if "driver" in fields else None,
        generator=fields.text("generator"),
        history=read_summary(fields.nested("history"), created) if "history" in fields else None,
    )


def _read_public_key(jwk: dict[str, Any]) -> RSAPublicKey:
    try:
        key = from_jwk(jwk)
    except ValueError as cause:
        raise RequestMalformedError(f"the device key of the license request cannot be used: {cause}") from cause
    if not isinstance(key, RSAPublicKey):
        raise RequestMalformedError("the device key of the license request is not an RSA key")
    return key


def _gpu_members(gpu: Gpu) -> dict[str, Any]:
    members: dict[str, Any] = {"uuid": gpu.uuid, "name": _printable(gpu.name) or "NVIDIA GPU"}
    if gpu.parent_uuid is not None:
        members["parent"] = gpu.parent_uuid
    if gpu.is_virtual:
        members["virtual"] = True
    return members


def _read_gpu(value: Any, what: str) -> Gpu:
    fields = Fields.of(value, what, RequestMalformedError)
    parent = fields.text("parent", 100, GPU_UUID_PATTERN) if "parent" in fields else None
    pattern = GPU_UUID_PATTERN if parent is None else MIG_UUID_PATTERN
    is_virtual = "virtual" in fields and fields.boolean("virtual")
    return Gpu(fields.text("uuid", 100, pattern), fields.text("name"), 0, parent, is_virtual=is_virtual)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in text)[:200]
