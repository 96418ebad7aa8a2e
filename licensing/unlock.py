"""Unlocking: from a license file and the measured hardware to a model's content key.

The steps, in this order; each is a function below that carries its number:

    1. Read the license file: size, JSON, members, grants.                     license_malformed
    2. Find the vendor key that the license names in the trust file.           trust_*, untrusted_vendor
    3. Verify the signature with that key, by that key's algorithm.            signature_invalid
    4. Read the claims: version, critical claims, consistency with the grants. license_malformed, license_unsupported
    5. Compare the validity with the clock.                                    not_yet_valid, expired
    6. Find the model in the license.                                          model_not_licensed
    7. Find a slot that the measured hardware matches.                         machine_mismatch, gpu_mismatch
    8. Open the device key, and compare it with the one that the license names. device_key_*
    9. Unwrap the license secret with the device key.                          device_key_mismatch
    10. Derive the key-encryption key and unwrap the content key.              grant_invalid

Steps 2 to 8 give clear refusals. What refuses in the end is step 9 and step 10: the derivation takes in the secret,
the measured hardware and the exact bytes of the license, so that a program whose checks were patched out derives
another key and gets nothing. docs/spec/license.md, section 15.
"""

import os
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from licensing.device_key import DeviceKey, open_device_key
from licensing.errors import (
    DeviceKeyMismatchError,
    ExpiredError,
    GpuMismatchError,
    GpuUnreadableError,
    MachineMismatchError,
    ModelNotLicensedError,
    NotYetValidError,
    UsageError,
)
from licensing.files import read_bounded
from licensing.gpus import Gpu
from licensing.hardware import Hardware, read_hardware
from licensing.homes import customer_home, trust_path
from licensing.jwk import PublicKey
from licensing.jws import verify_signature
from licensing.key_derivation import derive_kek, hardware_salt, slot_digest, unwrap_grant
from licensing.license import MAX_LICENSE_BYTES, License, LicensedModel, LicenseFile, Slot, read_claims
from licensing.local_time import local_text
from licensing.trust import TrustedKeys

__all__ = ["MatchedSlot", "UnlockedModel", "unlock"]

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class MatchedSlot:
    """A slot of the license, and the hardware of this box that fills it."""

    slot: Slot
    gpu: Gpu | None


@dataclass(frozen=True)
class UnlockedModel:
    """What unlocking gives.

    Attributes:
        content_key: 32 bytes; not shown.
        license: the license's claims, verified.
        matched: the slot and the GPU that were used.
        tier: how well the device key is protected against copying.
    """

    content_key: bytes = field(repr=False)
    license: License
    matched: MatchedSlot
    tier: str


def unlock(
    license: StrPath,
    model_id: str,
    key_id: str,
    *,
    trust: StrPath | None = None,
    home: StrPath | None = None,
    hardware: Hardware | None = None,
    now: datetime | None = None,
) -> UnlockedModel:
    """Derives the content key of one model, by the steps that this module lists.

    Args:
        license: the license file.
        model_id, key_id: the model and its content key's name, as the locked model's header gives them.
        trust: the trust file; by default `trust.jwks` in the home.
        home: the customer's home; by default `WEIGHTLOCK_HOME` or a per-user directory.
        hardware: the box as measured; by default it is measured now.
        now: the time; by default the system's clock.

    Raises:
        LicensingError: the step that refused, by its reason.
    """
    home_path = customer_home(home)
    file = step_1_read_file(license)
    vendor_key = step_2_find_vendor_key(file, trust_path(trust, home_path))
    step_3_verify_signature(file, vendor_key)
    claims = step_4_read_claims(file)
    step_5_check_validity(claims, now or datetime.now(timezone.utc))
    model = step_6_find_model(claims, model_id, key_id)
    measured = hardware or read_hardware()
    matched = step_7_find_slot(claims, measured)
    device_key = step_8_open_device_key(claims, home_path, measured)
    secret = step_9_unwrap_secret(claims, device_key)
    content_key = step_10_unwrap_content_key(file, model, matched, measured, secret)
    return UnlockedModel(content_key, claims, matched, device_key.tier)


def step_1_read_file(license: StrPath) -> LicenseFile:
    """Step 1: reads the license file."""
    return LicenseFile.parse(read_bounded(license, "license", MAX_LICENSE_BYTES))


def step_2_find_vendor_key(file: LicenseFile, trust: Path) -> PublicKey:
    """Step 2: finds the key that the license names among those that the customer trusts."""
    return TrustedKeys.read(trust).find(file.signed.kid)


def step_3_verify_signature(file: LicenseFile, vendor_key: PublicKey) -> None:
    """Step 3: verifies the vendor's signature."""
    verify_signature(file.signed, vendor_key, "license")


def step_4_read_claims(file: LicenseFile) -> License:
    """Step 4: reads the claims, which are the vendor's word from here on."""
    return read_claims(file)


def step_5_check_validity(claims: License, now: datetime) -> None:
    """Step 5: compares the license's validity with the clock."""
    if now.tzinfo is None:
        raise UsageError("the time has no time zone", "give datetime.now(timezone.utc), or leave it out")
    if now < claims.not_before:
        raise NotYetValidError(
            f"the license begins at {local_text(claims.not_before)}, and the clock of this machine says "
            f"{local_text(now)}",
            "check the clock of this machine",
        )
    if now >= claims.expires:
        raise ExpiredError(f"the license ended at {local_text(claims.expires)}")


def step_6_find_model(claims: License, model_id: str, key_id: str) -> LicensedModel:
    """Step 6: finds the model among those that the license names."""
    model = claims.model(model_id)
    if model is None:
        names = ", ".join(repr(model.name) for model in claims.models[:5])
        raise ModelNotLicensedError(
            "the license does not name this model", f"it names {names}", "ask the vendor for a license for this model"
        )
    if model.key_id != key_id:
        raise ModelNotLicensedError(
            f"the license names {model.name!r} under another content key: the model was encrypted again since",
            "take the locked model that belongs to this license, or ask the vendor for a new license",
        )
    return model


def step_7_find_slot(claims: License, hardware: Hardware) -> MatchedSlot:
    """Step 7: finds the first slot that this box fills."""
    machine_digest = slot_digest(claims.salt, "machine", hardware.machine.fingerprint)
    slots = [slot for slot in claims.slots if slot.machine_digest == machine_digest]
    if not slots:
        labels = ", ".join(sorted({repr(slot.machine_label) for slot in claims.slots}))
        raise MachineMismatchError(f"the license is for another machine: {labels}")
    gpus = {slot_digest(claims.salt, "gpu", identity): gpu for identity, gpu in hardware.identities().items()}
    for slot in slots:
        if slot.gpu_digest is None:
            return MatchedSlot(slot, None)
        if slot.gpu_digest in gpus:
            return MatchedSlot(slot, gpus[slot.gpu_digest])
    raise _no_gpu(slots, hardware)


def step_8_open_device_key(claims: License, home: Path, hardware: Hardware) -> DeviceKey:
    """Step 8: opens the device key and compares it with the one that the license is bound to."""
    device_key = open_device_key(home, hardware.machine)
    if claims.tier != device_key.tier:
        raise DeviceKeyMismatchError(
            f"the license demands a device key of the tier {claims.tier!r}, and this one is {device_key.tier!r}",
            "ask the vendor for a license of this tier",
        )
    if device_key.thumbprint != claims.device_thumbprint:
        raise DeviceKeyMismatchError(
            "the license was issued for another device key",
            "use the home directory whose request the vendor answered, or make a new request",
        )
    return device_key


def step_9_unwrap_secret(claims: License, device_key: DeviceKey) -> bytes:
    """Step 9: decrypts the license secret with the device key."""
    return device_key.unwrap_secret(claims.wrapped_secret)


def step_10_unwrap_content_key(
    file: LicenseFile, model: LicensedModel, matched: MatchedSlot, hardware: Hardware, secret: bytes
) -> bytes:
    """Step 10: derives the key-encryption key from what was measured, and unwraps the content key."""
    gpu_identity = "" if matched.gpu is None else matched.gpu.identity
    salt = hardware_salt(hardware.machine.fingerprint, gpu_identity)
    slot_id = matched.slot.slot_id
    kek = derive_kek(secret, salt, file.signed.text, model.model_id, model.key_id, slot_id)
    return unwrap_grant(kek, file.grants[model.model_id, slot_id], model.key_id)


def _no_gpu(slots: list[Slot], hardware: Hardware) -> GpuMismatchError | GpuUnreadableError:
    licensed = ", ".join(str(slot.gpu_label) for slot in slots[:8])
    present = ", ".join(gpu.label for gpu in hardware.gpus.gpus[:8]) or "no NVIDIA GPU"
    if hardware.gpus.problems:
        return GpuUnreadableError(
            f"the licensed GPU cannot be found: {hardware.gpus.problems[0]}",
            f"the license is for {licensed}",
            "check that 'nvidia-smi -L' lists the GPU",
        )
    return GpuMismatchError(
        "the license is for another GPU than those in this machine",
        f"the license is for {licensed}",
        f"this machine has {present}",
        "after replacing a GPU, make a new request and send it to the vendor",
    )
