"""The check-up of the clock and of the highest time seen, without any license."""

from datetime import timedelta
from pathlib import Path

import pytest

from licensing.checkup_clock import check_clock_of_box, check_time_state, is_synchronised
from licensing.clock_check import check_clock
from licensing.clock_witnesses import Witness
from licensing.errors import LicensingError
from licensing.findings import Finding
from licensing.surroundings import System
from tests.clocked_box import DAY, HOUR, ClockedBox, StandInClock
from tests.fake_system import SystemBuilder
from tests.lock_scene import NOW


def clock_found(
    tmp_path: Path,
    *,
    synchronised: bool | None = True,
    others: tuple[Witness, ...] | None = None,
    system: System | None = None,
) -> dict[str, Finding]:
    system = system or SystemBuilder(tmp_path / "system").build()
    clock = StandInClock(NOW, others)
    return by_code(list(check_clock_of_box(system, clock, NOW, tmp_path, synchronised)))


def state_found(box: ClockedBox, since: timedelta) -> dict[str, Finding]:
    return by_code(list(check_time_state(box.home, box.scene.box.device_key, NOW + since)))


def by_code(findings: list[Finding]) -> dict[str, Finding]:
    for finding in findings:
        assert finding.subject == "clock"
        assert (finding.level == "ok") == (finding.why == "") == (finding.mend == "")
    return {finding.code: finding for finding in findings}


# The clock.


@pytest.mark.parametrize("synchronised", [True, None])
def test_a_clock_that_is_right(synchronised: bool | None, tmp_path: Path) -> None:
    assert {code: each.level for code, each in clock_found(tmp_path, synchronised=synchronised).items()} == {
        "clock": "ok"
    }


def test_a_clock_that_nothing_keeps_right(tmp_path: Path) -> None:
    assert clock_found(tmp_path, synchronised=False)["clock_unsynchronised"].level == "note"


def test_a_clock_that_is_faked(tmp_path: Path) -> None:
    others = tuple(Witness(name, (NOW + HOUR).timestamp()) for name in ("boot time", "new file"))
    finding = clock_found(tmp_path, others=others)["clock_faked"]
    assert (finding.level, "boot time and new file" in finding.found) == ("problem", True)
    assert "faketime" in finding.mend


@pytest.mark.parametrize(
    ("hours", "far"), [(0, False), (14, False), (-14, False), (30, True), (-30, True), (90000, True)]
)
def test_a_clock_that_is_far_from_that_of_the_hardware(hours: int, far: bool, tmp_path: Path) -> None:
    seconds = int((NOW + hours * HOUR).timestamp())
    system = SystemBuilder(tmp_path / "system").build({"/sys/class/rtc/rtc0/since_epoch": f"{seconds}\n"})
    findings = clock_found(tmp_path, system=system)
    assert ("clock_far_off" in findings) is far
    if far:
        assert findings["clock_far_off"].level == "warning"


def test_the_kernel_says_whether_its_clock_is_synchronised() -> None:
    assert is_synchronised() in (True, False)


# The highest time seen: what unlocking would refuse is a problem with the same reason.


def refused(box: ClockedBox, since: timedelta) -> str:
    """Returns the reason for which the check of unlocking refuses."""
    claims, vendor_key = box.claims()
    clock = StandInClock(NOW + since)
    with pytest.raises(LicensingError) as refusal:
        check_clock(box.home, box.scene.box.device_key, claims, vendor_key, clock.moment, clock, record=False)
    return refusal.value.reason


def test_a_time_state_that_is_right(clocked_box: ClockedBox) -> None:
    clocked_box.run_daily(5 * DAY)
    for since in (5 * DAY - 20 * HOUR, 5 * DAY, 6 * DAY):
        findings = state_found(clocked_box, since)
        assert {code: finding.level for code, finding in findings.items()} == {"time_state": "ok"}
    assert findings["time_state"].found == "the highest time seen is 2026-07-06 12:00 UTC"


def test_a_clock_that_went_back(clocked_box: ClockedBox) -> None:
    clocked_box.run_daily(5 * DAY)
    finding = state_found(clocked_box, 2 * DAY)["clock_rollback"]
    assert (finding.level, refused(clocked_box, 2 * DAY)) == ("problem", "clock_rollback")
    assert finding.found == "the clock is 3 days behind 2026-07-06 12:00 UTC, the highest time seen here"
    assert "ask for a clock reset" in finding.mend


def test_a_home_that_came_back_from_a_backup(clocked_box: ClockedBox) -> None:
    backup = clocked_box.state_file.read_bytes()
    clocked_box.run_daily(5 * DAY)
    clocked_box.state_file.write_bytes(backup)
    assert state_found(clocked_box, 6 * DAY)["clock_state_replayed"].level == "problem"
    assert refused(clocked_box, 6 * DAY) == "clock_state_replayed"


def test_a_home_from_before_a_clock_reset(clocked_box: ClockedBox) -> None:
    """The reset lowered the time, so that the older copy has seen the later time: its list of resets tells."""
    backup = clocked_box.state_file.read_bytes()
    clocked_box.write(resets=("12345678-1111-4222-8333-444444444444",))
    clocked_box.twin.write_bytes(clocked_box.state_file.read_bytes())
    assert "time_state" in state_found(clocked_box, DAY)
    clocked_box.state_file.write_bytes(backup)
    assert "clock_state_replayed" in state_found(clocked_box, DAY)
    assert refused(clocked_box, DAY) == "clock_state_replayed"


def test_a_time_state_that_is_gone_or_damaged(clocked_box: ClockedBox) -> None:
    data = clocked_box.state_file.read_bytes()
    clocked_box.state_file.write_bytes(data.replace(b'"ver":1', b'"ver":2'))
    assert state_found(clocked_box, DAY)["clock_state_invalid"].level == "problem"
    clocked_box.state_file.unlink()
    assert state_found(clocked_box, DAY)["clock_state_missing"].level == "problem"


def test_a_clock_that_is_far_ahead_and_not_believed_yet(clocked_box: ClockedBox) -> None:
    clocked_box.issue(expires=NOW + 400 * DAY).unlock(300 * DAY)
    finding = state_found(clocked_box, 300 * DAY)["clock_ahead"]
    assert (finding.level, finding.mend) == ("note", "look whether date and year are right")
