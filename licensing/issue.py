"""Issuing a license: one grant per model and slot. docs/spec/license.md, section 14."""

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from licensing.content_key import key_id as content_key_id
from licensing.device_key import wrap_secret
from licensing.encoding import b64url_encode, to_epoch
from licensing.errors import GpuRequiredError, LicenseMalformedError, UsageError, VirtualGpuError
from licensing.jws import PrivateKey, sign_claims
from licensing.key_derivation import SECRET_BYTES, derive_kek, hardware_salt, slot_digest, wrap_grant
from licensing.license import (
    LICENSE_TYPE,
    LICENSE_VERSION,
    MAX_MODELS,
    MAX_SLOTS,
    SALT_BYTES,
    License,
    LicenseFile,
    license_file_bytes,
    read_claims,
)
from licensing.policy import DEFAULT_POLICY, Policy, policy_claims
from licensing.request import LicenseRequest
from licensing.slot_terms import DEFAULT_SLOTS, SlotTerms, licensed_gpus
from licensing.version import __version__

__all__ = ["CLOCK_ALLOWANCE", "IssuedLicense", "ModelKey", "Terms", "issue_license"]

CLOCK_ALLOWANCE = timedelta(hours=1)
"""How far before the moment of issue a license begins, so that a box whose clock is a little slow is not locked out."""


@dataclass(frozen=True)
class ModelKey:
    """A model to license, with its content key."""

    model_id: str
    key_id: str
    name: str
    content_key: bytes = field(repr=False)


@dataclass(frozen=True)
class Terms:
    """What a vendor grants.

    Attributes:
        vendor, customer: names, as people read them.
        expires: the first moment at which the license no longer holds.
        not_before: the first moment at which it holds; by default an hour before it is issued.
        allow_no_gpu: whether a request without a GPU may be answered, with a license for the machine alone.
        features: names that the vendor's application may ask for.
        policy: the conditions of use.
        slots: which hardware is licensed, beside what the request names.
    """

    vendor: str
    customer: str
    expires: datetime
    not_before: datetime | None = None
    allow_no_gpu: bool = False
    features: tuple[str, ...] = ()
    policy: Policy = DEFAULT_POLICY
    slots: SlotTerms = DEFAULT_SLOTS


@dataclass(frozen=True)
class IssuedLicense:
    """A license that has just been made.

    Attributes:
        claims: what it says, read back from the file as its customer will read it.
        data: the license file.
    """

    claims: License
    data: bytes = field(repr=False)

    @property
    def license_id(self) -> str:
        """The license's id, a UUID."""
        return self.claims.license_id

    @property
    def not_before(self) -> datetime:
        """The first moment at which it holds, in UTC."""
        return self.claims.not_before

    @property
    def expires(self) -> datetime:
        """The first moment at which it no longer holds, in UTC."""
        return self.claims.expires


@dataclass(frozen=True)
class _SlotHardware:
    slot_id: str
    gpu_identity: str
    gpu_label: str


def issue_license(
    request: LicenseRequest, models: Sequence[ModelKey], terms: Terms, signing_key: PrivateKey, now: datetime
) -> IssuedLicense:
    """Issues a license for the box that made the request.

    Args:
        request: a verified request.
        models: what to license, with their content keys.
        terms: who, until when, under which conditions.
        signing_key: the vendor's.
        now: the moment of issue.

    Raises:
        GpuRequiredError: the request names no GPU, and the terms do not allow that.
        VirtualGpuError: the request names a virtual GPU, and the terms do not allow that.
        UsageError: the terms contradict themselves.
    """
    not_before = terms.not_before or now - CLOCK_ALLOWANCE
    _check_terms(request, models, terms, not_before, now)
    secret, slots = secrets.token_bytes(SECRET_BYTES), _slots(request, terms)
    claims = {
        "ver": LICENSE_VERSION,
        "iss": terms.vendor,
        "sub": terms.customer,
        "jti": str(uuid.uuid4()),
        "iat": to_epoch(now),
        "nbf": to_epoch(not_before),
        "exp": to_epoch(terms.expires),
        "models": [{"id": model.model_id, "kid": model.key_id, "name": model.name} for model in models],
        "features": list(terms.features),
        "policy": policy_claims(terms.policy),
        "secret": b64url_encode(wrap_secret(request.public_key, secret)),
        "generator": f"weightlock {__version__}",
        **_box_claims(request, slots),
    }
    text = sign_claims(claims, signing_key, LICENSE_TYPE)
    data = license_file_bytes(text, _grants(text, secret, request, slots, models))
    try:
        return IssuedLicense(read_claims(LicenseFile.parse(data)), data)
    except LicenseMalformedError as cause:  # A name that is too long, or too many models for one file.
        raise UsageError(f"no license can be issued on these terms: {cause.message}") from cause


def _grants(
    text: str, secret: bytes, request: LicenseRequest, slots: list[_SlotHardware], models: Sequence[ModelKey]
) -> dict[tuple[str, str], bytes]:
    grants = {}
    for slot in slots:
        salt = hardware_salt(request.machine_fingerprint, slot.gpu_identity)
        for model in models:
            kek = derive_kek(secret, salt, text, model.model_id, model.key_id, slot.slot_id)
            grants[model.model_id, slot.slot_id] = wrap_grant(kek, model.content_key)
    return grants


def _check_terms(
    request: LicenseRequest, models: Sequence[ModelKey], terms: Terms, not_before: datetime, now: datetime
) -> None:
    if not request.gpus and not terms.allow_no_gpu:
        raise GpuRequiredError(
            "the license request names no GPU",
            "to license the machine alone, without a GPU, say --allow-no-gpu",
            "on a box with GPUs, 'weightlock request' names them all unless --gpu says otherwise",
        )
    virtual = next((gpu for gpu in request.gpus if gpu.is_virtual), None)
    if virtual is not None and not terms.policy.vgpu:
        raise VirtualGpuError(
            f"the license request names a virtual GPU: {virtual.label}",
            "its UUID is what its host says, and many can have the same; to license it all the same, say --allow-vgpu",
        )
    if any(moment.tzinfo is None for moment in (now, not_before, terms.expires)):
        raise UsageError("a time without a time zone says no moment", "give datetime.now(timezone.utc) and the like")
    if terms.expires <= now:
        raise UsageError("the license would have ended before it is issued", "choose a later end")
    if terms.expires <= not_before:
        raise UsageError("the license would end before it begins", "choose a later end")
    if not 1 <= len(models) <= MAX_MODELS or len({model.model_id for model in models}) != len(models):
        raise UsageError(f"a license names 1 to {MAX_MODELS} models, each once")
    for model in models:
        if content_key_id(model.content_key) != model.key_id:
            raise UsageError(f"the content key of {model.name!r} is not the one that its key id names")
    # What is not printable may not even be encodable: Python reads arguments that are not UTF-8 as lone surrogates.
    for name in (terms.vendor, terms.customer, *terms.features, *(model.name for model in models)):
        if not name.isprintable():
            raise UsageError(f"the name {name[:200]!r} holds characters that are not printable")


def _slots(request: LicenseRequest, terms: Terms) -> list[_SlotHardware]:
    gpus = licensed_gpus(request.gpus, terms.slots)
    if not gpus:
        return [_SlotHardware("slot-1", "", "")]
    if len(gpus) > MAX_SLOTS:
        raise UsageError(f"a license has at most {MAX_SLOTS} slots")
    return [_SlotHardware(f"slot-{number}", gpu.identity, gpu.label) for number, gpu in enumerate(gpus, start=1)]


def _box_claims(request: LicenseRequest, slots: list[_SlotHardware]) -> dict[str, Any]:
    salt = secrets.token_bytes(SALT_BYTES)
    return {
        "cnf": {"jkt": request.thumbprint},
        "tier": request.tier,
        "salt": b64url_encode(salt),
        "slots": [_slot_claims(slot, request, salt) for slot in slots],
    }


def _slot_claims(slot: _SlotHardware, request: LicenseRequest, salt: bytes) -> dict[str, Any]:
    machine_digest = slot_digest(salt, "machine", request.machine_fingerprint)
    claims: dict[str, Any] = {
        "id": slot.slot_id,
        "machine": {"digest": b64url_encode(machine_digest), "label": request.machine_label},
    }
    if slot.gpu_identity:
        gpu_digest = slot_digest(salt, "gpu", slot.gpu_identity)
        claims["gpu"] = {"digest": b64url_encode(gpu_digest), "label": slot.gpu_label}
    return claims
