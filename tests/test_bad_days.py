"""The customer's bad days: what happens, and the sentence that says what to do.

Each test is one day on one box. What the box says must be true, must name the way out, and the way out must work.
"""

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cryptors import CryptorFactory, load_model, read_header
from licensing.clock_reset import apply_clock_reset, make_clock_reset, read_clock_reset
from licensing.content_key import new_content_key
from licensing.errors import LicensingError
from licensing.issue import ModelKey, Terms, issue_license
from licensing.policy import Policy
from licensing.trust import TrustedKeys
from tests.clocked_box import DAY, HOUR, ClockedBox, StandInClock
from tests.licensed_box import LicensedBox
from tests.lock_scene import NOW
from tests.story import WIDTH, write_onnx


def refusal(box: ClockedBox, since: timedelta) -> LicensingError:
    with pytest.raises(LicensingError) as refused:
        box.unlock(since)
    return refused.value


def ask_the_vendor(box: ClockedBox, since: timedelta) -> None:
    """Does what the hints say: the vendor makes a clock reset for this box, and the customer applies it."""
    scene, clock = box.scene, StandInClock(NOW + since)
    file = make_clock_reset(scene.box.device_key.thumbprint, "Löwe AI", scene.signing_key, clock.moment)
    reset = read_clock_reset(file, TrustedKeys.read(box.home / "trust.jwks"))
    apply_clock_reset(box.home, scene.box.device_key, reset, clock.moment, clock)


# A clock that was wrong for a day.


@pytest.mark.parametrize("years", [1, 10, 70])
def test_a_clock_that_was_years_ahead_for_a_day(years: int, clocked_box: ClockedBox) -> None:
    """While it is wrong, the license has ended by it; once it is right, nothing is left of it."""
    wrong = years * 365 * DAY
    for hours in (0, 1, 23):
        error = refusal(clocked_box, wrong + hours * HOUR)
        assert (error.reason, error.message) == ("expired", "the license ended at 2026-07-31 12:00 UTC")
    clocked_box.unlock(DAY)
    assert (clocked_box.seen, clocked_box.state.provisional) == (DAY, None)


def test_a_clock_that_was_a_month_ahead_for_a_day_and_nobody_noticed(clocked_box: ClockedBox) -> None:
    """The license held by it, so that models were loaded all day."""
    clocked_box.issue(expires=NOW + 365 * DAY)
    for hours in (0, 1, 23):
        clocked_box.unlock(30 * DAY + hours * HOUR)
    clocked_box.unlock(DAY)
    assert clocked_box.seen == DAY


def test_a_clock_that_was_hours_off_for_a_day(clocked_box: ClockedBox) -> None:
    """A wrong time zone, or a battery that is old: within the step back, nothing is refused."""
    for since in (DAY, DAY + 14 * HOUR, DAY, 2 * DAY - 12 * HOUR, 2 * DAY):
        clocked_box.unlock(since)


def test_a_clock_that_began_at_zero_after_the_power_was_off(clocked_box: ClockedBox) -> None:
    """Until it is set, the license has not begun; the box says what its clock says."""
    clocked_box.unlock(DAY)
    error = refusal(clocked_box, datetime(2000, 1, 1, tzinfo=timezone.utc) - NOW)
    assert (error.reason, error.hints) == ("not_yet_valid", ("check the clock of this machine",))
    assert "the clock of this machine says 2000-01-01 00:00" in error.message
    clocked_box.unlock(2 * DAY)


@pytest.mark.parametrize("days", [2, 5, 8])
def test_a_clock_that_was_days_ahead_for_less_than_three(days: int, clocked_box: ClockedBox) -> None:
    """The license holds by it, and nobody notices; put right, it still holds."""
    clocked_box.unlock(DAY)
    for hours in (0, 1, 71):
        clocked_box.unlock((1 + days) * DAY + hours * HOUR)
    clocked_box.unlock(DAY + HOUR)
    assert (clocked_box.seen, clocked_box.state.provisional) == (DAY + HOUR, None)


def test_a_clock_that_was_days_ahead_for_longer(clocked_box: ClockedBox) -> None:
    """It was believed: the box waits until the time has come, or the vendor mends it."""
    for days in (6, 7, 8, 9):
        clocked_box.unlock(days * DAY)
    error = refusal(clocked_box, 4 * DAY)
    assert error.reason == "clock_rollback"
    assert (
        error.message
        == "the clock of this machine says 2026-07-05 12:00 UTC, and it has been 2026-07-10 12:00 UTC before"
    )
    assert [hint.split(":")[0] for hint in error.hints] == [
        "set the clock of this machine right; while it is right, nothing else is needed",
        "if it was ahead before and is right now",
    ]
    ask_the_vendor(clocked_box, 4 * DAY)
    clocked_box.unlock(4 * DAY)
    assert clocked_box.seen == 4 * DAY


# A deleted state directory.


def test_the_twins_directory_was_deleted(clocked_box: ClockedBox) -> None:
    clocked_box.unlock(DAY)
    clocked_box.twin.unlink()
    clocked_box.twin.parent.rmdir()
    clocked_box.unlock(DAY + HOUR)
    assert clocked_box.twin.read_bytes() == clocked_box.state_file.read_bytes()


def test_the_time_state_was_deleted(clocked_box: ClockedBox) -> None:
    clocked_box.unlock(DAY)
    clocked_box.state_file.unlink()
    error = refusal(clocked_box, 2 * DAY)
    assert (error.reason, error.message) == (
        "clock_state_missing",
        f"there is no time state {str(clocked_box.state_file)!r}",
    )
    assert any("ask for a clock reset: 'weightlock apply' takes it" in hint for hint in error.hints)
    ask_the_vendor(clocked_box, 2 * DAY)
    clocked_box.unlock(2 * DAY)


def test_the_home_came_back_from_a_backup(clocked_box: ClockedBox) -> None:
    backup = clocked_box.state_file.read_bytes()
    clocked_box.run_daily(5 * DAY)
    clocked_box.state_file.write_bytes(backup)
    error = refusal(clocked_box, 6 * DAY)
    assert (error.reason, error.message) == (
        "clock_state_replayed",
        "the time state was replaced by an older one: another copy of it has seen 2026-07-06 12:00 UTC",
    )
    ask_the_vendor(clocked_box, 6 * DAY)
    clocked_box.unlock(6 * DAY)


# The end of a license.


@pytest.fixture
def short_license(licensed_box: LicensedBox, tmp_path: Path) -> tuple[Path, Path, datetime]:
    """Returns a locked model, a license that ends in two seconds or three, and its end."""
    key, model, locked = new_content_key(), tmp_path / "net.onnx", tmp_path / "net.locked"
    write_onnx(model)
    header = CryptorFactory.instance("onnx").encrypt(model, key, locked)
    now = datetime.now(timezone.utc)
    end = now.replace(microsecond=0) + timedelta(seconds=3)
    named = ModelKey(header.model_id, header.key_id, header.name, key)
    license = issue_license(licensed_box.request, [named], Terms("Löwe AI", "Acme", end), licensed_box.signing_key, now)
    (tmp_path / "acme.lic").write_bytes(license.data)
    assert read_header(locked).key_id == header.key_id
    return locked, tmp_path / "acme.lic", end


@pytest.mark.slow
def test_a_license_that_ends_during_the_night(
    short_license: tuple[Path, Path, datetime], licensed_box: LicensedBox
) -> None:
    """What is loaded goes on; what starts in the morning is refused, and says what to do."""
    import numpy

    locked, license, end = short_license
    inputs = {"x": numpy.ones((2, WIDTH), numpy.float32)}
    session = load_model(locked, **licensed_box.unlocking(license))
    before = session.run(None, inputs)[0]
    while datetime.now(timezone.utc) <= end:
        time.sleep(0.05)
    with pytest.raises(LicensingError) as refused:
        load_model(locked, **licensed_box.unlocking(license))
    assert refused.value.reason == "expired"
    assert refused.value.hints == ("ask the vendor to renew the license; the locked model stays as it is",)
    assert numpy.array_equal(session.run(None, inputs)[0], before)


def test_with_a_grace_period_the_morning_works_too(clocked_box: ClockedBox, caplog: pytest.LogCaptureFixture) -> None:
    clocked_box.issue(policy=Policy(grace=3 * DAY)).unlock(30 * DAY + 8 * HOUR)
    assert [record.getMessage() for record in caplog.records] == [
        "the license ended at 2026-07-31 12:00 UTC; its grace period lasts for another 2 days"
    ]


def test_a_renewed_license_over_an_expired_one(clocked_box: ClockedBox) -> None:
    """The file gets another content under the same name, and that is all."""
    clocked_box.unlock(26 * DAY)
    assert refusal(clocked_box, 31 * DAY).reason == "expired"
    clocked_box.issue(NOW + 31 * DAY, expires=NOW + 60 * DAY).unlock(31 * DAY)
    assert (clocked_box.seen, clocked_box.state.provisional) == (31 * DAY, None)


def test_a_renewed_license_comes_early(clocked_box: ClockedBox) -> None:
    """Both hold for a while, and either may be used."""
    old = clocked_box.license.read_bytes()
    clocked_box.issue(NOW + 20 * DAY, expires=NOW + 60 * DAY).unlock(21 * DAY)
    clocked_box.license.write_bytes(old)
    clocked_box.unlock(22 * DAY)
