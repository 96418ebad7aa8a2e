"""Fuzz targets of what vendors and boxes send each other: licenses, requests, trust files, clock resets."""

import functools
import hashlib
import json
from typing import Any

from licensing.clock_reset import RESET_TYPE, ClockReset, read_clock_reset
from licensing.content_key import content_key_base64, read_content_key
from licensing.encoding import b64url_encode, to_epoch
from licensing.errors import (
    ClaimsUnsupportedError,
    ClockResetMalformedError,
    ContentKeyInvalidError,
    LicenseMalformedError,
    RequestMalformedError,
    SignatureInvalidError,
    TpmProofRequiredError,
    TrustMalformedError,
    UntrustedVendorError,
)
from licensing.jwk import to_jwk
from licensing.license import LICENSE_TYPE, License, LicenseFile, read_claims
from licensing.policy import Policy
from licensing.request import REQUEST_TYPE, LicenseRequest, read_request
from licensing.strict_json import canonical
from licensing.trust import TrustedKeys
from tests.fuzz.material import device_key, trusted, vendor_key
from tests.fuzz.target import Target
from tests.fuzz.written import json_of, same_bytes, same_json, same_members
from tests.raw_jws import b64, from_b64, header_of, raw_jws

__all__ = ["LICENSE_TARGETS", "claims_of_request"]


@functools.cache
def _header(typ: str) -> bytes:
    return header_of(device_key() if typ == REQUEST_TYPE else vendor_key(), typ)


def _license_file(data: bytes) -> None:
    file = LicenseFile.parse(data)
    same_json(file.to_bytes(), data)
    same_members(_members(read_claims(file)), json_of(file.signed.payload))


def _license_claims(payload: bytes) -> None:
    text = f"{b64(_header(LICENSE_TYPE))}.{b64(payload)}.{b64(bytes(64))}"
    data = canonical({"license": text, "grants": _grants_for(payload)})
    claims = read_claims(LicenseFile.parse(data))
    same_members(_members(claims), json_of(payload))


def _grants_for(payload: bytes) -> list[dict[str, str]]:
    """Returns the grants that claims call for, if they do that in a sensible way, so that nothing else is missing."""
    try:
        claims = json.loads(payload)
        pairs = [(model["id"], slot["id"]) for model in claims["models"] for slot in claims["slots"]][:300]
        grants = [{"model": model, "slot": slot, "key": b64url_encode(bytes(40))} for model, slot in pairs]
        canonical(grants)
        return grants
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _members(license: License) -> dict[str, Any]:
    """Returns the claims that a license was read from, as far as they were understood."""
    slots: list[dict[str, Any]] = []
    for slot in license.slots:
        machine = {"digest": b64url_encode(slot.machine_digest), "label": slot.machine_label}
        slots.append({"id": slot.slot_id, "machine": machine})
        if slot.gpu_digest is not None:
            slots[-1]["gpu"] = {"digest": b64url_encode(slot.gpu_digest), "label": slot.gpu_label}
    return {
        "ver": 1,
        "jti": license.license_id,
        "iss": license.vendor,
        "sub": license.customer,
        "iat": to_epoch(license.issued),
        "nbf": to_epoch(license.not_before),
        "exp": to_epoch(license.expires),
        "cnf": {"jkt": license.device_thumbprint},
        "tier": license.tier,
        "salt": b64url_encode(license.salt),
        "slots": slots,
        "models": [{"id": each.model_id, "kid": each.key_id, "name": each.name} for each in license.models],
        "features": list(license.features),
        "policy": _policy_members(license.policy),
        "secret": b64url_encode(license.wrapped_secret),
        "generator": license.generator,
    }


def _policy_members(policy: Policy) -> dict[str, Any]:
    # What is the default may be missing in what was read.
    members: dict[str, Any] = {}
    if policy.grace != Policy().grace:
        members["grace"] = int(policy.grace.total_seconds())
    if policy.step_back != Policy().step_back:
        members["step_back"] = int(policy.step_back.total_seconds())
    if policy.vgpu:
        members["vgpu"] = True
    return members


def _request_file(data: bytes) -> None:
    request = read_request(data)
    same_members(claims_of_request(request), json_of(_payload(json_of(data)["request"])))


def _request_claims(payload: bytes) -> None:
    """Signs really only where the claims were read, and then only now and then: it takes milliseconds."""
    unsigned = f"{b64(_header(REQUEST_TYPE))}.{b64(payload)}.{b64(bytes(384))}"
    try:
        read_request(canonical({"request": unsigned}))
    except SignatureInvalidError:
        if hashlib.sha256(payload).digest()[0] < 16:
            signed = raw_jws(_header(REQUEST_TYPE), payload, device_key())
            same_members(claims_of_request(read_request(canonical({"request": signed}))), json_of(payload))


def claims_of_request(request: LicenseRequest) -> dict[str, Any]:
    """Returns the claims that a request was read from, as far as they were understood."""
    gpus = [{"uuid": gpu.uuid, "name": gpu.name} for gpu in request.gpus]
    for gpu, members in zip(request.gpus, gpus, strict=True):
        if gpu.parent_uuid is not None:
            members["parent"] = gpu.parent_uuid
    claims: dict[str, Any] = {
        "ver": 1,
        "jti": request.request_id,
        "iat": to_epoch(request.created),
        "tier": request.tier,
        "cnf": {"jwk": to_jwk(request.public_key)},
        "machine": {
            "fingerprint": request.machine_fingerprint,
            "label": request.machine_label,
            "source": request.machine_source,
        },
        "gpus": gpus,
        "generator": request.generator,
    }
    if request.driver_version is not None:
        claims["driver"] = request.driver_version
    if request.history is not None:
        claims["history"] = request.history.claims()
    return claims


def _trust_file(data: bytes) -> None:
    trust = TrustedKeys.parse(data)
    written = trust.to_bytes()
    same_members(json_of(written), json_of(data))
    same_bytes(TrustedKeys.parse(written).to_bytes(), written)


def _clock_reset_file(data: bytes) -> None:
    same_members(_reset_members(read_clock_reset(data, trusted())), json_of(_payload(json_of(data)["clock_reset"])))


def _clock_reset_claims(payload: bytes) -> None:
    text = raw_jws(_header(RESET_TYPE), payload, vendor_key())
    reset = read_clock_reset(canonical({"clock_reset": text}), trusted())
    same_members(_reset_members(reset), json_of(payload))


def _reset_members(reset: ClockReset) -> dict[str, Any]:
    return {
        "ver": 1,
        "jti": reset.reset_id,
        "iss": reset.vendor,
        "cnf": {"jkt": reset.device},
        "iat": to_epoch(reset.issued),
        "exp": to_epoch(reset.expires),
    }


def _payload(text: str) -> bytes:
    return from_b64(text.split(".")[1])


def _content_key(data: bytes) -> None:
    key = read_content_key(data)
    if data != key:
        same_bytes(content_key_base64(key).encode(), data.rstrip(b"\r\n"))


LICENSE_ERRORS = (LicenseMalformedError, ClaimsUnsupportedError)
RESET_ERRORS = (ClockResetMalformedError, UntrustedVendorError, SignatureInvalidError)
REQUEST_ERRORS = (RequestMalformedError, SignatureInvalidError, TpmProofRequiredError)

LICENSE_TARGETS = (
    Target("license-file", _license_file, LICENSE_ERRORS),
    Target("license-claims", _license_claims, LICENSE_ERRORS),
    Target("request-file", _request_file, REQUEST_ERRORS),
    Target("request-claims", _request_claims, REQUEST_ERRORS),
    Target("trust-file", _trust_file, (TrustMalformedError,)),
    Target("clock-reset-file", _clock_reset_file, RESET_ERRORS),
    Target("clock-reset-claims", _clock_reset_claims, RESET_ERRORS),
    Target("content-key", _content_key, (ContentKeyInvalidError,), json=False, max_bytes=200),
)
