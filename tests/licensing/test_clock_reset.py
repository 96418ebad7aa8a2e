"""The clock reset: what it mends, for whom, how often, and who may sign it. docs/spec/license.md, section 15.3."""

import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from licensing import time_state
from licensing.clock_reset import (
    MAX_RESET_BYTES,
    RESET_TYPE,
    RESET_VALID,
    ClockReset,
    apply_clock_reset,
    make_clock_reset,
    read_clock_reset,
)
from licensing.clock_witnesses import TpmClock, Witness
from licensing.errors import LicensingError, StorageError
from licensing.jwk import thumbprint
from licensing.jws import PrivateKey, sign_claims
from licensing.license import LICENSE_TYPE
from licensing.strict_json import canonical
from licensing.time_state import TimeState, TpmRecord
from licensing.trust import TrustedKeys
from tests.clocked_box import DAY, HOUR, SECOND, ClockedBox, StandInClock, TpmStandIn
from tests.lock_scene import NOW, Scene

NOTHING = timedelta(0)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(LicensingError) as refused:
        call()
    error = refused.value
    assert error.message[0].islower()
    assert not error.message.endswith(".")
    assert error.hints
    return error.reason


def trusted(*keys: PrivateKey) -> TrustedKeys:
    return TrustedKeys({thumbprint(key.public_key()): key.public_key() for key in keys})


def reset_file(scene: Scene, now: datetime = NOW, key: PrivateKey | None = None, device: str = "") -> bytes:
    return make_clock_reset(device or scene.box.device_key.thumbprint, "Löwe AI", key or scene.signing_key, now)


def reset_of(scene: Scene, now: datetime = NOW, key: PrivateKey | None = None) -> ClockReset:
    key = key or scene.signing_key
    return read_clock_reset(reset_file(scene, now, key), trusted(key))


def apply(box: ClockedBox, since: timedelta, reset: ClockReset | None = None, **changes: Any) -> TimeState:
    """Applies a reset, by default one that was made just then, when so much has passed since NOW."""
    clock = StandInClock(NOW + since, changes.get("others"))
    key = changes.get("key", box.scene.box.device_key)
    return apply_clock_reset(box.home, key, reset or reset_of(box.scene, NOW + since), clock.moment, clock)


def claims_of(data: bytes) -> dict[str, Any]:
    payload = json.loads(data)["clock_reset"].split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return claims


def file_of(claims: dict[str, Any], key: PrivateKey, typ: str = RESET_TYPE) -> bytes:
    kept = {name: value for name, value in claims.items() if value is not None}
    return canonical({"clock_reset": sign_claims(kept, key, typ)})


# The file.


def test_what_a_reset_says(lock_scene: Scene) -> None:
    reset = reset_of(lock_scene)
    assert (reset.vendor, reset.device) == ("Löwe AI", lock_scene.box.device_key.thumbprint)
    assert (reset.issued, reset.expires) == (NOW, NOW + timedelta(days=7))
    assert reset.vendor_key == thumbprint(lock_scene.signing_key.public_key())
    assert reset.reset_id != reset_of(lock_scene).reset_id


BAD: dict[str, dict[str, Any]] = {
    "another version": {"ver": 2},
    "no id": {"jti": None},
    "an id that is none": {"jti": "1"},
    "no time": {"iat": None},
    "no end": {"exp": None},
    "ends before it begins": {"exp": int(NOW.timestamp())},
    "lasts too long": {"exp": int((NOW + RESET_VALID).timestamp()) + 1},
    "no device": {"cnf": {}},
    "no confirmation": {"cnf": None},
    "no vendor": {"iss": None},
    "no generator": {"generator": None},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_signed_reset_that_breaks_a_rule(change: dict[str, Any], lock_scene: Scene) -> None:
    good, keys = claims_of(reset_file(lock_scene)), trusted(lock_scene.signing_key)
    read_clock_reset(file_of(good, lock_scene.signing_key), keys)
    bad = file_of({**good, **change}, lock_scene.signing_key)
    assert refusal(lambda: read_clock_reset(bad, keys)) == "clock_reset_malformed"


def test_files_that_are_no_resets(lock_scene: Scene) -> None:
    keys, good = trusted(lock_scene.signing_key), reset_file(lock_scene)
    text = json.loads(good)["clock_reset"]
    for bad in (
        b"",
        b"{}",
        lock_scene.issue(),
        lock_scene.box.request(),
        canonical({"clock_reset": text, "more": 1}),
        canonical({"clock_reset": text + "."}),
        canonical({"clock_reset": json.loads(lock_scene.issue())["license"]}),
        file_of(claims_of(good), lock_scene.signing_key, LICENSE_TYPE),
        good.ljust(MAX_RESET_BYTES + 1),
    ):
        assert refusal(lambda bad=bad: read_clock_reset(bad, keys)) == "clock_reset_malformed"  # type: ignore[misc]
    assert read_clock_reset(good.ljust(MAX_RESET_BYTES), keys)


def test_a_reset_is_no_license(clocked_box: ClockedBox) -> None:
    text = json.loads(reset_file(clocked_box.scene))["clock_reset"]
    members = json.loads(clocked_box.license.read_bytes())
    clocked_box.license.write_bytes(canonical({**members, "license": text}))
    assert refusal(lambda: clocked_box.unlock(NOTHING)) == "license_malformed"


def test_who_may_sign_it(lock_scene: Scene) -> None:
    stranger, good = lock_scene.stranger_signing_key, reset_file(lock_scene)
    signed_by_a_stranger = reset_file(lock_scene, key=stranger)
    keys = trusted(lock_scene.signing_key)
    assert refusal(lambda: read_clock_reset(signed_by_a_stranger, keys)) == "untrusted_vendor"
    header, _, signature = json.loads(good)["clock_reset"].split(".")
    later = json.loads(file_of({**claims_of(good), "exp": 1}, stranger))["clock_reset"].split(".")[1]
    edited = canonical({"clock_reset": f"{header}.{later}.{signature}"})
    assert refusal(lambda: read_clock_reset(edited, keys)) == "signature_invalid"


# What it mends.


def lose(box: ClockedBox) -> None:
    box.state_file.unlink()


def damage(box: ClockedBox) -> None:
    box.state_file.write_bytes(box.state_file.read_bytes()[:-1])


def put_an_older_one_back(box: ClockedBox) -> None:
    old = box.state_file.read_bytes()
    box.run_daily(6 * DAY)
    box.state_file.write_bytes(old)


def believe_a_wrong_clock(box: ClockedBox) -> None:
    box.issue(expires=NOW + 4000 * DAY)
    for days in (1000, 1004):
        box.unlock(days * DAY)


def lose_everything(box: ClockedBox) -> None:
    box.state_file.unlink()
    box.twin.unlink()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lose, "clock_state_missing"),
        (damage, "clock_state_invalid"),
        (put_an_older_one_back, "clock_state_replayed"),
        (believe_a_wrong_clock, "clock_rollback"),
        (lose_everything, "clock_state_missing"),
    ],
)
def test_it_mends_what_went_wrong(spoil: Callable[[ClockedBox], None], reason: str, clocked_box: ClockedBox) -> None:
    spoil(clocked_box)
    assert refusal(lambda: clocked_box.unlock(7 * DAY)) == reason
    apply(clocked_box, 7 * DAY)
    clocked_box.unlock(7 * DAY)
    assert (clocked_box.seen, clocked_box.state.provisional) == (7 * DAY, None)
    assert clocked_box.twin.read_bytes() == clocked_box.state_file.read_bytes()
    assert refusal(lambda: clocked_box.unlock(5 * DAY)) == "clock_rollback"


def test_where_the_twin_cannot_be_written_it_mends_too(
    clocked_box: ClockedBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old twin is ahead of the mended state, and the id of the reset tells that it is the older one."""
    believe_a_wrong_clock(clocked_box)
    old = clocked_box.twin.read_bytes()
    apply(clocked_box, 7 * DAY)
    clocked_box.twin.write_bytes(old)
    clocked_box.unlock(7 * DAY)
    assert clocked_box.twin.read_bytes() == clocked_box.state_file.read_bytes()


def test_the_time_begins_at_the_later_of_both_clocks(clocked_box: ClockedBox) -> None:
    lose(clocked_box)
    reset = reset_of(clocked_box.scene, NOW + DAY)
    apply(clocked_box, DAY - HOUR, reset)
    assert clocked_box.seen == DAY
    apply(clocked_box, 3 * DAY)
    assert clocked_box.seen == 3 * DAY


def test_the_tpm_begins_again_too(clocked_box: ClockedBox) -> None:
    """The clock of a TPM that somebody set ahead would otherwise go on refusing."""
    clocked_box.check(NOTHING, TpmClock(0, 1, 1, True))
    assert refusal(lambda: clocked_box.check(DAY, TpmClock(10**12, 1, 1, True))) == "clock_rollback"
    key = TpmStandIn(clocked_box.scene.box.device_key, TpmClock(10**12, 1, 1, True))
    state = apply(clocked_box, DAY, key=key)
    assert state.tpm == TpmRecord(int((NOW + DAY).timestamp()), 10**12, 1, 1)
    clocked_box.check(DAY + HOUR, TpmClock(10**12 + 3_600_000, 1, 1, True))


# When, where and how often.


def test_it_holds_for_seven_days_by_a_clock_that_must_be_right(clocked_box: ClockedBox) -> None:
    reset = reset_of(clocked_box.scene, NOW + 10 * DAY)
    for since, reason in (
        (10 * DAY - HOUR - SECOND, "not_yet_valid"),
        (17 * DAY, "expired"),
        (4000 * DAY, "expired"),
    ):
        assert refusal(lambda since=since: apply(clocked_box, since, reset)) == reason  # type: ignore[misc]
    assert clocked_box.seen == NOTHING
    apply(clocked_box, 17 * DAY - SECOND, reset)
    for hours in (1, 0):
        apply(clocked_box, 10 * DAY - hours * HOUR, reset_of(clocked_box.scene, NOW + 10 * DAY))


def test_not_under_a_faked_clock(clocked_box: ClockedBox) -> None:
    others = tuple(Witness(name, (NOW + 3 * DAY).timestamp()) for name in ("system call", "boot time"))
    assert refusal(lambda: apply(clocked_box, NOTHING, others=others)) == "clock_faked"


def test_not_on_another_box(clocked_box: ClockedBox) -> None:
    for_another = reset_file(clocked_box.scene, device=clocked_box.scene.stranger.device_key.thumbprint)
    reset = read_clock_reset(for_another, trusted(clocked_box.scene.signing_key))
    assert refusal(lambda: apply(clocked_box, NOTHING, reset)) == "device_key_mismatch"


def test_each_works_once(clocked_box: ClockedBox) -> None:
    reset, other = reset_of(clocked_box.scene), reset_of(clocked_box.scene)
    apply(clocked_box, NOTHING, reset)
    apply(clocked_box, NOTHING, other)
    assert clocked_box.state.resets == (reset.reset_id, other.reset_id)
    for is_lost in (False, True):
        if is_lost:
            clocked_box.state_file.unlink()
        for used in (reset, other):
            assert refusal(lambda used=used: apply(clocked_box, HOUR, used)) == "clock_reset_used"  # type: ignore[misc]
    apply(clocked_box, HOUR, reset_of(clocked_box.scene))
    assert len(clocked_box.state.resets) == 3
    clocked_box.twin.unlink()
    assert refusal(lambda: apply(clocked_box, HOUR, reset)) == "clock_reset_used"


def test_a_thousand_are_remembered(clocked_box: ClockedBox) -> None:
    ids = tuple(f"{number:08x}-1111-4222-8333-444444444444" for number in range(1000))
    clocked_box.write(resets=ids)
    reset = reset_of(clocked_box.scene)
    apply(clocked_box, NOTHING, reset)
    assert clocked_box.state.resets == (*ids[1:], reset.reset_id)


# For whom.


def test_a_vendor_of_the_customer_s_own_forgives_nothing_for_another(clocked_box: ClockedBox) -> None:
    """Whoever holds the home can make a vendor's key, and a trust file that names it."""
    clocked_box.run_daily(6 * DAY)
    own_key = Ed25519PrivateKey.generate()
    for spoil in (None, lose, lose_everything):
        if spoil is not None:
            spoil(clocked_box)
        apply(clocked_box, DAY, reset_of(clocked_box.scene, NOW + DAY, own_key))
        assert clocked_box.seen == DAY
        assert refusal(lambda: clocked_box.unlock(DAY)) == "clock_state_invalid"
        assert refusal(lambda: clocked_box.unlock(6 * DAY)) == "clock_state_invalid"
    apply(clocked_box, 6 * DAY)
    clocked_box.unlock(6 * DAY)


def test_two_vendors_of_one_box_forgive_one_after_the_other(clocked_box: ClockedBox) -> None:
    scene = clocked_box.scene
    first, second = scene.signing_key, scene.stranger_signing_key
    (clocked_box.home / "trust.jwks").write_bytes(trusted(first, second).to_bytes())
    licenses = scene.issue(), scene.issue(signing_key=second)

    def outcomes() -> list[str]:
        found = []
        for license in licenses:
            clocked_box.license.write_bytes(license)
            try:
                clocked_box.unlock(DAY)
                found.append("")
            except LicensingError as error:
                found.append(error.reason)
        return found

    lose(clocked_box)
    apply(clocked_box, DAY, reset_of(scene, NOW + DAY, first))
    assert outcomes() == ["", "clock_state_invalid"]
    apply(clocked_box, DAY, reset_of(scene, NOW + DAY, second))
    assert outcomes() == ["", ""]
    assert clocked_box.state.reset_by == tuple(thumbprint(key.public_key()) for key in (first, second))


def test_a_reset_that_mends_nothing_changes_nothing_for_other_vendors(clocked_box: ClockedBox) -> None:
    apply(clocked_box, DAY, reset_of(clocked_box.scene, NOW + DAY, clocked_box.scene.stranger_signing_key))
    assert clocked_box.state.reset_by == ()
    clocked_box.unlock(DAY)


def test_the_time_that_another_copy_has_seen_is_no_less_lowered(clocked_box: ClockedBox) -> None:
    """The home is put back to an old state, so that the reset would seem to lower nothing."""
    put_an_older_one_back(clocked_box)
    apply(clocked_box, DAY, reset_of(clocked_box.scene, NOW + DAY, clocked_box.scene.stranger_signing_key))
    assert refusal(lambda: clocked_box.unlock(DAY)) == "clock_state_invalid"


def test_nor_the_time_that_the_tpm_has_counted(clocked_box: ClockedBox) -> None:
    """A clock that stands still lowers nothing but what only the TPM knows."""
    clocked_box.check(NOTHING, TpmClock(0, 1, 1, True))
    key = TpmStandIn(clocked_box.scene.box.device_key, TpmClock(30 * 86_400_000, 1, 1, True))
    apply(clocked_box, NOTHING, reset_of(clocked_box.scene, NOW, clocked_box.scene.stranger_signing_key), key=key)
    assert refusal(lambda: clocked_box.check(NOTHING, key.reading)) == "clock_state_invalid"


def test_nor_is_a_reset_that_another_copy_knows(clocked_box: ClockedBox) -> None:
    old = clocked_box.state_file.read_bytes()
    apply(clocked_box, NOTHING)
    clocked_box.state_file.write_bytes(old)
    apply(clocked_box, HOUR, reset_of(clocked_box.scene, NOW, clocked_box.scene.stranger_signing_key))
    assert refusal(lambda: clocked_box.unlock(HOUR)) == "clock_state_invalid"


def test_a_home_that_cannot_be_written(clocked_box: ClockedBox, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise StorageError("there is no space left", reason="storage_full")

    lose(clocked_box)
    with monkeypatch.context() as patch:
        patch.setattr(time_state, "new_file", full)
        reset = reset_of(clocked_box.scene)
        assert refusal(lambda: apply(clocked_box, NOTHING, reset)) == "clock_state_unwritable"
    apply(clocked_box, NOTHING, reset)
