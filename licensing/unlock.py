"""Unlocking: from a license file and the measured hardware to a model's content key.

The steps, in this order; each is a function below that carries its number:

    1. Read the license file: size, JSON, members, grants.                     license_malformed
    2. Find the vendor key that the license names in the trust file.           trust_*, untrusted_vendor
    3. Verify the signature with that key, by that key's algorithm.            signature_invalid
    4. Read the claims: version, critical claims, consistency with the grants. license_malformed, license_unsupported
    5. Compare the validity with the clock.                                    not_yet_valid, expired
    6. Find the model in the license.                                          model_not_licensed
    7. Find a slot that the measured hardware matches.                         machine_mismatch, gpu_*, driver_*, vgpu_*
    8. Open the device key, and compare it with the one that the license names. device_key_*
    9. Unwrap the license secret with the device key.                          device_key_mismatch
    10. Derive the key-encryption key and unwrap the content key.              grant_invalid
    11. Check the clock against witnesses and the highest time seen; record it. clock_*

Steps 2 to 8 give clear refusals. What refuses in the end is step 9 and step 10: the derivation takes in the secret,
the measured hardware and the exact bytes of the license, so that a program whose checks were patched out derives
another key and gets nothing. Step 11 is a check again. It stands last because it writes: only a license that opens the
model here may tell the box what time it is. docs/spec/license.md, section 15.
"""

import contextlib
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from licensing.clock_check import ClockFinding, check_clock
from licensing.clock_witnesses import Clock, SystemClock
from licensing.device_key import DeviceKey, open_device_key
from licensing.errors import (
    DeviceKeyMismatchError,
    ExpiredError,
    LicensingError,
    MachineMismatchError,
    ModelNotLicensedError,
)
from licensing.files import read_bounded
from licensing.gpu_checks import check_gpu, eligible_gpus, not_licensed
from licensing.gpus import Gpu
from licensing.hardware import Hardware, read_hardware
from licensing.homes import customer_home, trust_path
from licensing.jwk import PublicKey
from licensing.jws import verify_signature
from licensing.key_derivation import derive_kek, hardware_salt, slot_digest, unwrap_grant
from licensing.license import MAX_LICENSE_BYTES, License, LicensedModel, LicenseFile, Slot, read_claims
from licensing.machine import read_machine
from licensing.secret_memory import forget
from licensing.trust import TrustedKeys
from licensing.validity import check_validity, validity_warning

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
    device: str | None = None,
    clock: Clock | None = None,
) -> UnlockedModel:
    """Derives the content key of one model, by the steps that this module lists.

    Args:
        license: the license file.
        model_id, key_id: the model and its content key's name, as the locked model's header gives them.
        trust: the trust file; by default `trust.jwks` in the home.
        home: the customer's home; by default `WEIGHTLOCK_HOME` or a per-user directory.
        hardware: the box as measured; by default it is measured now.
        now: the time, if the caller has a better clock than the system's. It is believed: step 11 is left out, and
            nothing is recorded, because what a program passes here says nothing about this machine's clock.
        device: where the model is to compute. With "cuda:N", the license must be for this GPU, or for no GPU.
        clock: where the time comes from if `now` is not given; by default the system's clock.

    Raises:
        LicensingError: the step that refused, by its reason.
    """
    home_path, clock = customer_home(home), clock or SystemClock()
    checked, moment = now is None, now or clock.now()
    file = step_1_read_file(license)
    vendor_key = step_2_find_vendor_key(file, trust_path(trust, home_path))
    step_3_verify_signature(file, vendor_key)
    claims = step_4_read_claims(file)
    try:
        step_5_check_validity(claims, moment)
    except ExpiredError:
        if checked:
            _record_the_end(file, claims, home_path, hardware, moment, clock)
        raise
    model = step_6_find_model(claims, model_id, key_id)
    measured = hardware or read_hardware()
    matched = step_7_find_slot(claims, measured, device)
    device_key = step_8_open_device_key(claims, home_path, measured)
    secret = step_9_unwrap_secret(claims, device_key)
    try:
        content_key = step_10_unwrap_content_key(file, model, matched, measured, secret)
    finally:
        forget(secret)
    if checked:
        try:
            step_11_check_clock(file, claims, device_key, home_path, moment, clock)
        except BaseException:
            forget(content_key)
            raise
    _warn(claims, moment)
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
    check_validity(claims, now)


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


def step_7_find_slot(claims: License, hardware: Hardware, device: str | None = None) -> MatchedSlot:
    """Step 7: finds the first slot that this box fills; one for a GPU with the GPU that computes, where that is told.

    GPUs are looked at only if it takes one: a slot of the machine alone accepts every device.
    """
    machine_digest = slot_digest(claims.salt, "machine", hardware.machine.fingerprint)
    slots = [slot for slot in claims.slots if slot.machine_digest == machine_digest]
    if not slots:
        labels = ", ".join(sorted({repr(slot.machine_label) for slot in claims.slots}))
        raise MachineMismatchError(f"the license is for another machine: {labels}")
    alone = next((slot for slot in slots if slot.gpu_digest is None), None)
    if alone is slots[0]:
        return MatchedSlot(slots[0], None)
    if alone is None:
        return _find_gpu_slot(claims, slots, hardware, device)
    try:
        return _find_gpu_slot(claims, slots[: slots.index(alone)], hardware, device)
    except LicensingError:
        return MatchedSlot(alone, None)


def _find_gpu_slot(claims: License, slots: list[Slot], hardware: Hardware, device: str | None) -> MatchedSlot:
    eligible = eligible_gpus(hardware, device)
    gpus = {slot_digest(claims.salt, "gpu", identity): gpu for identity, gpu in hardware.identities().items()}
    present = [(slot, gpus[slot.gpu_digest]) for slot in slots if slot.gpu_digest in gpus]
    for slot, gpu in present:
        if gpu in eligible.gpus:
            check_gpu(gpu, hardware, claims.policy)
            return MatchedSlot(slot, gpu)
    raise not_licensed([str(slot.gpu_label) for slot in slots], hardware, eligible, [gpu for _, gpu in present])


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
    try:
        return unwrap_grant(kek, file.grants[model.model_id, slot_id], model.key_id)
    finally:
        forget(kek)


def step_11_check_clock(
    file: LicenseFile, claims: License, device_key: DeviceKey, home: Path, now: datetime, clock: Clock
) -> ClockFinding:
    """Step 11: compares the clock with its witnesses and with the highest time seen, and records it."""
    return check_clock(home, device_key, claims, file.signed.kid, now, clock)


def _record_the_end(
    file: LicenseFile, claims: License, home: Path, hardware: Hardware | None, now: datetime, clock: Clock
) -> None:
    """Records the time at which a license was found to have ended: the clock may be set back for the next attempt.

    Nothing depends on it, so that whatever is wrong with the box does not hide that the license has ended.
    """
    with contextlib.suppress(LicensingError):
        machine = read_machine() if hardware is None else hardware.machine
        device_key = open_device_key(home, machine)
        if device_key.thumbprint == claims.device_thumbprint:
            step_11_check_clock(file, claims, device_key, home, now, clock)


def _warn(claims: License, now: datetime) -> None:
    """Says once for each unlocking, in the log, that the license ends soon."""
    warning = validity_warning(claims, now)
    if warning is not None:
        import logging  # Deferred: most starts have nothing to say.

        logging.getLogger("weightlock").warning(warning)
