"""A program whose checks were patched out: each check in turn, and all of them.

The steps of `licensing.unlock` are replaced by ones that accept whatever comes, as somebody patches the sources. What
each check guards is tried against the patched program, and against the attacker's own.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock

from licensing import gpu_checks, unlock
from licensing.device_key import create_device_key, open_device_key
from licensing.errors import LicenseMalformedError
from licensing.gpus import Gpu
from licensing.license import LicensedModel, _read_fields
from licensing.strict_json import Fields
from licensing.unlock import MatchedSlot
from tests.attacks.attack import Outcome, Power, StoppedBy, attack
from tests.attacks.boxes import GPU, OTHER_GPU, OTHER_MACHINE
from tests.attacks.cheat import derived_without_checks
from tests.attacks.claims import far_end
from tests.attacks.scene import AttackScene
from tests.lock_attacks import grants_of, with_grants
from tests.lock_scene import signed_again

__all__: list[str] = []


def _slot_of(gpu: Gpu | None) -> Callable[..., MatchedSlot]:
    return lambda claims, hardware, device=None: MatchedSlot(claims.slots[0], gpu)


def _read_unchecked(file: Any) -> Any:
    claims = file.signed.claims("license", LicenseMalformedError)
    return _read_fields(Fields(claims, "license", LicenseMalformedError))


def _accepting(scene: AttackScene, gpu: Gpu | None = GPU) -> dict[str, Callable[..., Any]]:
    """Returns every check of unlocking as one that accepts; the derivations are left as they are."""
    return {
        "step_2_find_vendor_key": lambda file, trust: scene.stranger._signing_key.public_key(),
        "step_3_verify_signature": lambda file, key: None,
        "step_4_read_claims": _read_unchecked,
        "step_5_check_validity": lambda claims, now: None,
        "step_6_find_model": lambda claims, model_id, key_id: LicensedModel(claims.models[0].model_id, key_id, "any"),
        "step_7_find_slot": _slot_of(gpu),
        "step_8_open_device_key": lambda claims, home, hardware: open_device_key(home, hardware.machine),
        "step_11_check_clock": lambda *arguments: None,
    }


@contextmanager
def _patched(scene: AttackScene, *steps: int, gpu: Gpu | None = GPU) -> Iterator[None]:
    """Replaces steps by accepting ones; without numbers, all of them."""
    with ExitStack() as stack:
        for name, accept in _accepting(scene, gpu).items():
            if not steps or int(name.split("_")[1]) in steps:
                stack.enter_context(mock.patch.object(unlock, name, accept))
        yield


def _longer(scene: AttackScene, **options: Any) -> bytes:
    return signed_again(scene.license, options.get("key"), exp=far_end())


@attack(
    "patching",
    Power.SAME_USER,
    "patch out the trust file, and extend the license with a signature of one's own",
    both=StoppedBy.CRYPTOGRAPHY,
)
def patch_out_the_trust_file(scene: AttackScene) -> Outcome:
    license = _longer(scene, key=scene.stranger._signing_key)
    with _patched(scene, 2):
        reason = scene.refusal(license)
    return scene.locked_out(reason, scene.everything(license), "the extended license")


@attack(
    "patching", Power.SAME_USER, "patch out the signature's check, and extend the license", both=StoppedBy.CRYPTOGRAPHY
)
def patch_out_the_signature(scene: AttackScene) -> Outcome:
    license = _longer(scene)
    with _patched(scene, 3):
        reason = scene.refusal(license)
    return scene.locked_out(reason, scene.everything(license), "the extended license")


@attack(
    "patching",
    Power.SAME_USER,
    "patch out the comparison of claims and grants, and add a grant for an unlicensed model",
    both=StoppedBy.CRYPTOGRAPHY,
)
def patch_out_the_claims(scene: AttackScene) -> Outcome:
    (grant,) = grants_of(scene.license)
    license = with_grants(scene.license, grant, {**grant, "model": scene.headers[scene.other_model].model_id})
    with _patched(scene, 4):
        reason = scene.refusal(license, model=scene.other_model)
    return scene.locked_out(reason, scene.everything(license), "the other model", model=scene.other_model)


def _ended(scene: AttackScene) -> bytes:
    past = datetime.now(timezone.utc) - timedelta(days=40)
    return scene.issue(now=past, expires=past + timedelta(days=30))


@attack(
    "patching",
    Power.SAME_USER,
    "patch out the dates' check, and use a license that has ended",
    both=StoppedBy.CHECK,
)
def patch_out_the_dates(scene: AttackScene) -> Outcome:
    license = _ended(scene)
    with _patched(scene, 5):
        reason = scene.refusal(license)
    assert reason == "expired"
    said = f"refused ({reason}) by the highest time seen; a program without that check unlocks"
    return Outcome(said, StoppedBy.CHECK, "more time")


@attack(
    "patching",
    Power.SAME_USER,
    "patch out the dates' check and the clock's, and use a license that has ended",
    both=StoppedBy.NOTHING,
)
def patch_out_the_dates_and_the_clock(scene: AttackScene) -> Outcome:
    license = _ended(scene)
    assert scene.refusal(license) == "expired"
    with _patched(scene, 5, 11):
        reason = scene.refusal(license)
    if reason is not None:
        return Outcome(f"refused ({reason})", StoppedBy.CHECK, "more time")
    return Outcome(
        "the license unlocks ten days after its end: time is no part of the key", StoppedBy.NOTHING, "more time"
    )


@attack(
    "patching",
    Power.SAME_USER,
    "patch out the search for the model, and use the license for another model",
    both=StoppedBy.CRYPTOGRAPHY,
)
def patch_out_the_model(scene: AttackScene) -> Outcome:
    with _patched(scene, 6):
        reason = scene.refusal(scene.license, model=scene.other_model)
    return scene.locked_out(reason, scene.everything(), "the other model", model=scene.other_model)


@attack(
    "patching",
    Power.FILES,
    "patch out the comparison of the machine, and use the copied home on another one",
    both=StoppedBy.CRYPTOGRAPHY,
)
def patch_out_the_machine(scene: AttackScene) -> Outcome:
    home = scene.copied_home("copied-home")
    with _patched(scene, 7):
        reason = scene.refusal(scene.license, box=scene.box.on_machine(OTHER_MACHINE), home=home, foreign=True)
    loot = scene.everything(homes=(home,), machines=(OTHER_MACHINE,), tcti=scene.foreign_tcti)
    return scene.locked_out(reason, loot, "on the other machine")


@attack(
    "patching",
    Power.SAME_USER,
    "patch out the comparison of the GPU, and use another one as it is",
    both=StoppedBy.CRYPTOGRAPHY,
)
def patch_out_the_gpu(scene: AttackScene) -> Outcome:
    with _patched(scene, 7, gpu=OTHER_GPU):
        reason = scene.refusal(scene.license, box=scene.box.with_gpus(OTHER_GPU))
    return scene.locked_out(reason, scene.everything(gpus=(OTHER_GPU.identity,)), "with the other GPU")


@attack(
    "patching",
    Power.SAME_USER,
    "patch out what judges the driver's parts, and use a virtual GPU under the licensed UUID",
    both=StoppedBy.NOTHING,
)
def patch_out_the_driver_checks(scene: AttackScene) -> Outcome:
    box = scene.box.with_gpus(replace(GPU, is_virtual=True))
    assert scene.refusal(scene.license, box=box) == "vgpu_refused"
    with (
        mock.patch.object(unlock, "check_gpu", return_value=None),
        mock.patch.object(gpu_checks, "_check_library", return_value=None),
    ):
        reason = scene.refusal(scene.license, box=box)
    return scene.locked_out(reason, scene.everything(), "on the virtual GPU", elsewhere=False)


@attack(
    "patching",
    Power.FILES,
    "patch out the comparison of the device key, and use another one",
    both=StoppedBy.CRYPTOGRAPHY,
)
def patch_out_the_device_key(scene: AttackScene) -> Outcome:
    home: Path = scene.new_folder("own-home")
    create_device_key(home, scene.box.hardware.machine)
    with _patched(scene, 8):
        reason = scene.refusal(scene.license, home=home, foreign=True)
    loot = scene.everything(homes=(home,), tcti=scene.foreign_tcti)
    return scene.locked_out(reason, loot, "with another device key")


@attack(
    "patching",
    Power.FILES,
    "patch out every check, and use the copied home on another machine",
    both=StoppedBy.CRYPTOGRAPHY,
)
def patch_out_everything_on_another_machine(scene: AttackScene) -> Outcome:
    home = scene.copied_home("copied-home")
    with _patched(scene):
        assert scene.refusal(scene.license) is None, "the patched program unlocks on the licensed machine"
        reason = scene.refusal(scene.license, box=scene.box.on_machine(OTHER_MACHINE), home=home, foreign=True)
    loot = scene.everything(homes=(home,), machines=(OTHER_MACHINE,), tcti=scene.foreign_tcti)
    return scene.locked_out(reason, loot, "on the other machine")


@attack(
    "patching",
    Power.SAME_USER,
    "run a program without checks on the licensed machine, and carry the content key away",
    both=StoppedBy.NOTHING,
)
def carry_the_content_key_away(scene: AttackScene) -> Outcome:
    header = scene.headers[scene.model]
    derived = derived_without_checks(scene.everything(), header.model_id, header.key_id)
    if derived is None:
        return Outcome("nothing can be derived", StoppedBy.CRYPTOGRAPHY)
    assert derived == scene.content_key()
    said = "this user may use the device key: the content key comes out, and decrypts the model anywhere"
    return Outcome(said, StoppedBy.NOTHING, "content key", elsewhere=True)
