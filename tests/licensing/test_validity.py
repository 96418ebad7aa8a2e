"""The stages of a license's end: warnings, the grace period, and the refusal. docs/spec/license.md, section 15."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from licensing.encoding import MAX_EPOCH, from_epoch
from licensing.errors import LicensingError
from licensing.policy import MAX_POLICY_SECONDS, Policy
from licensing.status import examine
from licensing.validity import check_validity, validity_warning
from tests.clocked_box import DAY, HOUR, SECOND, ClockedBox, StandInClock
from tests.lock_scene import NOW

END = NOW + 30 * DAY
GRACE = Policy(grace=5 * DAY)


def refusal(box: ClockedBox, since: timedelta) -> LicensingError:
    with pytest.raises(LicensingError) as refused:
        box.unlock(since)
    return refused.value


def warnings(box: ClockedBox, since: timedelta, log: pytest.LogCaptureFixture) -> list[str]:
    """Returns what unlocking says in the log."""
    log.clear()
    box.unlock(since)
    assert {(record.name, record.levelno) for record in log.records} <= {("weightlock", logging.WARNING)}
    return [record.getMessage() for record in log.records]


def test_from_thirty_days_before_the_end_on_each_unlocking_warns_once(
    clocked_box: ClockedBox, caplog: pytest.LogCaptureFixture
) -> None:
    clocked_box.issue(expires=NOW + 31 * DAY)
    assert warnings(clocked_box, DAY, caplog) == []
    end = "the license ends at 2026-08-01 12:00 UTC, "
    assert warnings(clocked_box, DAY + SECOND, caplog) == [f"{end}29 days from now"]
    assert warnings(clocked_box, 30 * DAY, caplog) == [f"{end}24 hours from now"]
    assert warnings(clocked_box, 31 * DAY - SECOND, caplog) == [f"{end}less than a minute from now"]
    assert refusal(clocked_box, 31 * DAY).reason == "expired"


def test_a_caller_with_a_clock_of_its_own_is_warned_too(
    clocked_box: ClockedBox, caplog: pytest.LogCaptureFixture
) -> None:
    clocked_box.scene.unlock(clocked_box.license, home=clocked_box.home, now=END - DAY)
    assert len(caplog.records) == 1


def test_a_refusal_does_not_warn(clocked_box: ClockedBox, caplog: pytest.LogCaptureFixture) -> None:
    clocked_box.state_file.unlink()
    assert refusal(clocked_box, 29 * DAY).reason == "clock_state_missing"
    assert caplog.records == []


def test_the_grace_period_lasts_to_the_second(clocked_box: ClockedBox, caplog: pytest.LogCaptureFixture) -> None:
    clocked_box.issue(policy=GRACE)
    ended = "the license ended at 2026-07-31 12:00 UTC; its grace period lasts for another "
    assert warnings(clocked_box, 30 * DAY, caplog) == [f"{ended}5 days"]
    assert warnings(clocked_box, 34 * DAY, caplog) == [f"{ended}24 hours"]
    assert warnings(clocked_box, 35 * DAY - SECOND, caplog) == [f"{ended}less than a minute"]
    error = refusal(clocked_box, 35 * DAY)
    assert (error.reason, error.message) == (
        "expired",
        "the license ended at 2026-07-31 12:00 UTC, and its grace period of 5 days too",
    )
    assert refusal(clocked_box, 35 * DAY + HOUR).reason == "expired"
    assert refusal(clocked_box, 35 * DAY - HOUR).reason == "expired"


def test_without_one_there_is_none(clocked_box: ClockedBox) -> None:
    error = refusal(clocked_box, 30 * DAY)
    assert (error.reason, error.message) == ("expired", "the license ended at 2026-07-31 12:00 UTC")


def test_status_shows_the_stage(clocked_box: ClockedBox) -> None:
    clocked_box.issue(policy=GRACE)
    found = []
    for days in (0, 29, 31, 36):
        report = examine(
            clocked_box.license,
            home=clocked_box.home,
            hardware=clocked_box.scene.box.hardware,
            clock=StandInClock(NOW + days * DAY),
        )
        check = next(check for check in report.checks if check.name == "validity")
        found.append((check.error.reason if check.error else "", check.warning, check.sentence))
    assert found == [
        ("", False, "until 2026-07-31 12:00 UTC, 30 days from now"),
        ("", True, "until 2026-07-31 12:00 UTC, 24 hours from now"),
        ("", True, "the license ended at 2026-07-31 12:00 UTC; its grace period lasts for another 4 days"),
        ("expired", False, "the license ended at 2026-07-31 12:00 UTC, and its grace period of 5 days too"),
    ]


def test_the_last_seconds_that_dates_can_express(clocked_box: ClockedBox) -> None:
    """The end plus the grace period is no date, and the license holds until the end of all dates."""
    claims, _ = clocked_box.claims()
    last = from_epoch(MAX_EPOCH)
    claims = replace(claims, expires=last, policy=Policy(grace=timedelta(seconds=MAX_POLICY_SECONDS)))
    for now in (last, datetime.max.replace(tzinfo=timezone.utc)):
        check_validity(claims, now)
        assert str(validity_warning(claims, now)).startswith("the license ended at 9999-12-31 ")
    with pytest.raises(LicensingError):
        check_validity(replace(claims, policy=Policy()), last)
