"""Key derivation, not checks, is what refuses: with any step of unlocking patched out, and with all of them.

Steps 2 to 8 of `licensing.unlock` are replaced by ones that accept whatever comes, as somebody would patch a program
who holds a license and wants more than it gives. Where there are several ways to go on (which slot to claim, which
machine ID to open the device key with), all are tried. docs/spec/license.md, section 15.
"""

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from licensing import key_derivation, unlock
from licensing.device_key import DeviceKey, open_device_key
from licensing.errors import ExpiredError, LicenseMalformedError, LicensingError
from licensing.gpus import Gpu
from licensing.hardware import Hardware
from licensing.jwk import PublicKey, thumbprint
from licensing.license import License, LicensedModel, LicenseFile, _read_fields
from licensing.machine import Machine
from licensing.strict_json import Fields
from licensing.unlock import MatchedSlot
from tests.clocked_box import ClockedBox
from tests.lock_attacks import ATTACKS, Attack
from tests.lock_scene import MACHINE, NOW, Scene

STEPS = {
    2: "step_2_find_vendor_key",
    3: "step_3_verify_signature",
    4: "step_4_read_claims",
    5: "step_5_check_validity",
    6: "step_6_find_model",
    7: "step_7_find_slot",
    8: "step_8_open_device_key",
}
DISABLED: list[tuple[int, ...]] = [(), *((step,) for step in STEPS), tuple(STEPS)]


def accepting_steps(scene: Scene, attack: Attack) -> dict[int, list[Callable[..., Any]]]:
    """Returns, for each step, every way of accepting that the attacker tries."""
    vendor_keys = [scene.signing_key.public_key(), scene.stranger_signing_key.public_key()]

    def trust_everybody(file: LicenseFile, trust: Path) -> PublicKey:
        return next(key for key in vendor_keys if thumbprint(key) == file.signed.kid)

    def read_claims(file: LicenseFile) -> License:
        claims = file.signed.claims("license", LicenseMalformedError)
        return _read_fields(Fields(claims, "license", LicenseMalformedError))

    def wanted_model(claims: License, model_id: str, key_id: str) -> LicensedModel:
        return LicensedModel(model_id, key_id, "the model that the license does not name")

    def first_model_as_the_wanted_one(claims: License, model_id: str, key_id: str) -> LicensedModel:
        return LicensedModel(claims.models[0].model_id, key_id, "the model that the license names")

    def claim_slot(number: int, gpu: Gpu | None) -> Callable[[License, Hardware, str | None], MatchedSlot]:
        return lambda claims, hardware, device: MatchedSlot(claims.slots[number], gpu)

    def open_with(machine: Machine) -> Callable[[License, Path, Hardware], DeviceKey]:
        return lambda claims, home, hardware: open_device_key(home, machine)

    measured = attack.box.hardware
    return {
        2: [trust_everybody],
        3: [lambda file, vendor_key: None],
        4: [read_claims],
        5: [lambda claims, now: None],
        6: [wanted_model, first_model_as_the_wanted_one],
        7: [claim_slot(number, gpu) for number in (0, -1) for gpu in (None, *measured.gpus.gpus)],
        8: [open_with(measured.machine), open_with(MACHINE)],
    }


def attempts(scene: Scene, attack: Attack, disabled: tuple[int, ...], directory: Path) -> Iterator[bytes | str]:
    """Yields what each combination of accepting steps gives: the content key, or the reason of the refusal."""
    (directory / "acme.lic").write_bytes(attack.license_file)
    ways = accepting_steps(scene, attack)
    for steps in itertools.product(*(ways[number] for number in disabled)):
        with pytest.MonkeyPatch.context() as patch:
            for number, step in zip(disabled, steps, strict=True):
                patch.setattr(unlock, STEPS[number], step)
            try:
                yield unlock.unlock(
                    directory / "acme.lic",
                    attack.model.model_id,
                    attack.model.key_id,
                    home=attack.box.home,
                    hardware=attack.box.hardware,
                    now=attack.now,
                ).content_key
            except LicensingError as error:
                yield error.reason


@pytest.fixture
def unwrapped(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Returns the list of all keys that AES-KW gives while the test runs.

    It shows that nothing comes out of the derivation, and not only that unlocking raises an error afterwards.
    """
    keys: list[bytes] = []

    def recorded(wrapping_key: bytes, wrapped_key: bytes) -> bytes:
        keys.append(aes_key_unwrap(wrapping_key, wrapped_key))
        return keys[-1]

    monkeypatch.setattr(key_derivation, "aes_key_unwrap", recorded)
    return keys


def names(disabled: tuple[int, ...]) -> str:
    return f"without steps {disabled[0]} to {disabled[-1]}" if len(disabled) > 1 else f"without step {disabled or '-'}"


@pytest.mark.parametrize("disabled", DISABLED, ids=names)
def test_the_licensed_box_gets_the_key_with_the_same_steps_disabled(
    disabled: tuple[int, ...], lock_scene: Scene, unwrapped: list[bytes], tmp_path: Path
) -> None:
    """The control: what the attacks below do can give a key, and gives the right one."""
    nothing_attacked = Attack(lock_scene.issue(), lock_scene.box, lock_scene.model, ())
    outcomes = set(attempts(lock_scene, nothing_attacked, disabled, tmp_path))
    assert lock_scene.model.content_key in outcomes
    assert set(unwrapped) == {lock_scene.model.content_key}


@pytest.mark.parametrize("disabled", DISABLED, ids=names)
@pytest.mark.parametrize("make_attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_no_key_comes_out_of_an_attack(
    make_attack: Callable[[Scene], Attack],
    disabled: tuple[int, ...],
    lock_scene: Scene,
    unwrapped: list[bytes],
    tmp_path: Path,
) -> None:
    attack = make_attack(lock_scene)
    outcomes = set(attempts(lock_scene, attack, disabled, tmp_path))
    assert unwrapped == []
    expected = next(reason for step, reason in attack.refusals if step not in disabled)
    # A device key that is opened without comparing it may still not open, or not fit the license.
    assert expected in outcomes
    assert outcomes <= {expected, *(["device_key_mismatch"] if 8 in disabled else [])}


def test_only_derivations_are_left_when_all_checks_are_disabled(lock_scene: Scene) -> None:
    """Every attack must come to the end, or the test above would not show what it says."""
    assert {make_attack(lock_scene).refusals[-1][0] for make_attack in ATTACKS} == {9, 10}


# What the lock cannot do, so that nobody takes it for more than it is. docs/spec/license.md, section 17.


def test_limit_a_patched_clock_check_ignores_the_end_on_the_licensed_box(
    lock_scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The box holds everything that decryption needs; time is no part of any derivation."""
    license, later = tmp_path / "acme.lic", NOW + timedelta(days=31)
    license.write_bytes(lock_scene.issue())
    with pytest.raises(ExpiredError):
        lock_scene.unlock(license, now=later)
    monkeypatch.setattr(unlock, STEPS[5], lambda claims, now: None)
    assert lock_scene.unlock(license, now=later).content_key == lock_scene.model.content_key


@pytest.mark.parametrize("spoil", ["set back", "state deleted", "state of another key", "end was seen"])
def test_limit_a_patched_last_step_ignores_the_highest_time_seen(
    spoil: str, clocked_box: ClockedBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 11 is a check, like step 5; each case is refused with the step, and gives the key without it."""
    clocked_box.run_daily(timedelta(days=6))
    if spoil == "state deleted":
        clocked_box.state_file.unlink()
    elif spoil == "state of another key":
        clocked_box.state_file.write_bytes(clocked_box.state_file.read_bytes()[::-1])
    elif spoil == "end was seen":
        clocked_box.write(highest=int((NOW + timedelta(days=30)).timestamp()))
    since = timedelta(days=3 if spoil == "set back" else 29.5)
    with pytest.raises(LicensingError) as refusal:
        clocked_box.unlock(since)
    assert refusal.value.reason in ("clock_rollback", "clock_state_missing", "clock_state_invalid", "expired")
    monkeypatch.setattr(unlock, "step_11_check_clock", lambda *arguments: None)
    assert clocked_box.unlock(since).content_key == clocked_box.scene.model.content_key


def test_limit_identifiers_can_be_pretended_where_the_device_key_is(lock_scene: Scene, tmp_path: Path) -> None:
    """UUIDs and machine IDs are no secrets, and a software device key can be copied by whoever reads its file.

    Here another box, with a copied home, measures nothing and claims to be the licensed one.
    """
    license, copied_home = tmp_path / "acme.lic", tmp_path / "copied"
    license.write_bytes(lock_scene.issue())
    copied_home.mkdir()
    for file in lock_scene.box.home.iterdir():
        (copied_home / file.name).write_bytes(file.read_bytes())
    pretended = lock_scene.box.hardware
    unlocked = lock_scene.unlock(license, home=copied_home, hardware=pretended)
    assert (unlocked.content_key, unlocked.tier) == (lock_scene.model.content_key, "software")
