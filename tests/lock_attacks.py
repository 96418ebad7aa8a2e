"""Attacks on a license: each takes what an attacker has, and aims at a content key that the attacker may not have.

The attacker of these attacks measures the real hardware and cannot change the past: what nobody has is the secret of a
license for another device key, or a grant for other hardware. docs/spec/license.md, section 17.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from licensing.device_key import wrap_secret
from licensing.encoding import b64url_encode
from licensing.issue import ModelKey
from licensing.key_derivation import slot_digest
from tests.lock_scene import GPU, NOW, OTHER_GPU, OTHER_MACHINE, Box, Scene, signed_again

__all__ = ["ATTACKS", "Attack"]

SIGNATURE = (3, "signature_invalid")
DEVICE_KEY = (8, "device_key_mismatch")
SECRET = (9, "device_key_mismatch")
GRANT = (10, "grant_invalid")


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        license_file: what the attacker made of the license.
        box: where it is used.
        model: whose content key the attacker wants.
        refusals: every step that refuses it, in their order, with its reason. The last one is a derivation.
        now: when.
    """

    license_file: bytes
    box: Box
    model: ModelKey
    refusals: tuple[tuple[int, str], ...]
    now: datetime = NOW


def claims_of(license_file: bytes) -> dict[str, Any]:
    payload = json.loads(license_file)["license"].split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return claims


def with_grants(license_file: bytes, *grants: dict[str, str]) -> bytes:
    return json.dumps({**json.loads(license_file), "grants": list(grants)}).encode()


def grants_of(license_file: bytes) -> list[dict[str, str]]:
    grants: list[dict[str, str]] = json.loads(license_file)["grants"]
    return grants


def model_claims(model: ModelKey) -> dict[str, str]:
    return {"id": model.model_id, "kid": model.key_id, "name": model.name}


# Edited licenses.


def edited_end(scene: Scene) -> Attack:
    file, later = scene.issue(), NOW + timedelta(days=100)
    file = signed_again(file, exp=int(later.timestamp()) + 86400)
    return Attack(file, scene.box, scene.model, (SIGNATURE, GRANT), later)


def edited_end_signed_by_a_stranger(scene: Scene) -> Attack:
    later = NOW + timedelta(days=100)
    file = signed_again(scene.issue(), scene.stranger_signing_key, exp=int(later.timestamp()) + 86400)
    return Attack(file, scene.box, scene.model, ((2, "untrusted_vendor"), GRANT), later)


def edited_models(scene: Scene) -> Attack:
    licensed, wanted = scene.models
    file = scene.issue(licensed)
    (grant,) = grants_of(file)
    file = signed_again(file, models=[model_claims(licensed), model_claims(wanted)])
    file = with_grants(file, grant, {**grant, "model": wanted.model_id})
    return Attack(file, scene.box, wanted, (SIGNATURE, GRANT))


def edited_models_with_another_customers_grant(scene: Scene) -> Attack:
    licensed, wanted = scene.models
    (theirs,) = grants_of(scene.issue(wanted, box=scene.stranger))
    file = with_grants(signed_again(scene.issue(licensed), models=[model_claims(wanted)]), theirs)
    return Attack(file, scene.box, wanted, (SIGNATURE, GRANT))


def edited_key_id(scene: Scene) -> Attack:
    """The model was encrypted again, under a key for which the customer has no license."""
    encrypted_again = replace(scene.models[1], model_id=scene.model.model_id)
    file = signed_again(scene.issue(), models=[model_claims(encrypted_again)])
    return Attack(file, scene.box, encrypted_again, (SIGNATURE, GRANT))


def edited_slots(scene: Scene) -> Attack:
    """The customer's own digests for another box, to which the home was copied."""
    box = Box(scene.box.home, scene.stranger.hardware, scene.box.device_key)
    file = scene.issue()
    claims = claims_of(file)
    (slot,), salt = claims["slots"], base64.urlsafe_b64decode(claims["salt"] + "==")
    slot["machine"]["digest"] = b64url_encode(slot_digest(salt, "machine", box.hardware.machine.fingerprint))
    slot["gpu"]["digest"] = b64url_encode(slot_digest(salt, "gpu", OTHER_GPU.identity))
    return Attack(signed_again(file, slots=[slot]), box, scene.model, (SIGNATURE, DEVICE_KEY, GRANT))


def edited_slot_without_its_gpu(scene: Scene) -> Attack:
    file = scene.issue()
    (slot,) = claims_of(file)["slots"]
    del slot["gpu"]
    return Attack(signed_again(file, slots=[slot]), scene.box.with_gpus(), scene.model, (SIGNATURE, GRANT))


def edited_device_key(scene: Scene) -> Attack:
    box = scene.same_hardware
    file = signed_again(scene.issue(), cnf={"jkt": box.device_key.thumbprint})
    return Attack(file, box, scene.model, (SIGNATURE, SECRET))


def edited_device_key_and_secret(scene: Scene) -> Attack:
    box = scene.same_hardware
    secret = b64url_encode(wrap_secret(box.device_key.public_key, bytes(32)))
    file = signed_again(scene.issue(), cnf={"jkt": box.device_key.thumbprint}, secret=secret)
    return Attack(file, box, scene.model, (SIGNATURE, GRANT))


# Other hardware, other keys.


def another_gpu(scene: Scene) -> Attack:
    return Attack(scene.issue(), scene.box.with_gpus(OTHER_GPU), scene.model, ((7, "gpu_mismatch"), GRANT))


def no_gpu(scene: Scene) -> Attack:
    return Attack(scene.issue(), scene.box.with_gpus(), scene.model, ((7, "gpu_mismatch"), GRANT))


def another_machine_with_a_copied_home(scene: Scene) -> Attack:
    box = scene.box.on_machine(OTHER_MACHINE)
    return Attack(scene.issue(), box, scene.model, ((7, "machine_mismatch"), DEVICE_KEY, GRANT))


def another_machine_for_a_license_without_a_gpu(scene: Scene) -> Attack:
    file = scene.issue(box=scene.box.with_gpus(), allow_no_gpu=True)
    box = scene.box.on_machine(OTHER_MACHINE)
    return Attack(file, box, scene.model, ((7, "machine_mismatch"), DEVICE_KEY, GRANT))


def another_device_key(scene: Scene) -> Attack:
    return Attack(scene.issue(), scene.same_hardware, scene.model, (DEVICE_KEY, SECRET))


def another_customers_box(scene: Scene) -> Attack:
    return Attack(scene.issue(), scene.stranger, scene.model, ((7, "machine_mismatch"), DEVICE_KEY, SECRET))


# Licenses and grants mixed; grants are not signed, so nothing but the derivation can find this.


def grants_of_another_license(scene: Scene) -> Attack:
    ended = scene.issue(expires=NOW + timedelta(days=1))
    file = with_grants(scene.issue(), *grants_of(ended))
    return Attack(file, scene.box, scene.model, (GRANT,))


def another_customers_grant(scene: Scene) -> Attack:
    file = with_grants(scene.issue(), *grants_of(scene.issue(box=scene.stranger)))
    return Attack(file, scene.box, scene.model, (GRANT,))


def grants_of_two_slots_exchanged(scene: Scene) -> Attack:
    file = scene.issue(box=scene.box.with_gpus(GPU, OTHER_GPU))
    first, second = grants_of(file)
    file = with_grants(file, {**first, "key": second["key"]}, {**second, "key": first["key"]})
    return Attack(file, scene.box, scene.model, (GRANT,))


def grants_of_two_models_exchanged(scene: Scene) -> Attack:
    file = scene.issue(*scene.models)
    first, second = grants_of(file)
    file = with_grants(file, {**first, "key": second["key"]}, {**second, "key": first["key"]})
    return Attack(file, scene.box, scene.model, (GRANT,))


def grant_of_one_model_for_another(scene: Scene) -> Attack:
    licensed, wanted = scene.models
    file = scene.issue(licensed)
    (grant,) = grants_of(file)
    file = with_grants(file, grant, {**grant, "model": wanted.model_id})
    return Attack(file, scene.box, wanted, ((4, "license_malformed"), (6, "model_not_licensed"), GRANT))


ATTACKS: tuple[Callable[[Scene], Attack], ...] = (
    edited_end,
    edited_end_signed_by_a_stranger,
    edited_models,
    edited_models_with_another_customers_grant,
    edited_key_id,
    edited_slots,
    edited_slot_without_its_gpu,
    edited_device_key,
    edited_device_key_and_secret,
    another_gpu,
    no_gpu,
    another_machine_with_a_copied_home,
    another_machine_for_a_license_without_a_gpu,
    another_device_key,
    another_customers_box,
    grants_of_another_license,
    another_customers_grant,
    grants_of_two_slots_exchanged,
    grants_of_two_models_exchanged,
    grant_of_one_model_for_another,
)
