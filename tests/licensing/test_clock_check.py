"""The last step of unlocking: the clock, its witnesses, the highest time seen. docs/spec/license.md, section 15.2."""

import contextlib
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from licensing import clock_check, time_state
from licensing.clock_check import CONFIRMED_AFTER_SECONDS, FAR_JUMP_SECONDS, WITNESS_ALLOWANCE_SECONDS
from licensing.clock_witnesses import TpmClock, Witness
from licensing.errors import LicensingError, StorageError
from licensing.policy import Policy
from licensing.status import examine
from licensing.time_state import TpmRecord, start_state
from tests.clocked_box import DAY, HOUR, SECOND, ClockedBox, StandInClock
from tests.lock_scene import NOW, Scene

FAR = timedelta(seconds=FAR_JUMP_SECONDS)
CONFIRMED = timedelta(seconds=CONFIRMED_AFTER_SECONDS)
NOTHING = timedelta(0)


def refusal(call: Callable[[], object]) -> str:
    """Returns the reason with which a call is refused, after a look at its sentence and hints."""
    with pytest.raises(LicensingError) as refused:
        call()
    error = refused.value
    assert error.message[0].islower()
    assert not error.message.endswith(".")
    assert error.hints
    return error.reason


# The highest time seen.


def test_time_that_passes_is_recorded(clocked_box: ClockedBox) -> None:
    for days in (1, 2, 3):
        clocked_box.unlock(days * DAY)
        assert clocked_box.seen == days * DAY
    assert clocked_box.twin.read_bytes() == clocked_box.state_file.read_bytes()


def test_the_clock_may_be_behind_by_the_step_back_and_not_by_a_second_more(clocked_box: ClockedBox) -> None:
    clocked_box.run_daily(5 * DAY)
    for behind in (NOTHING, HOUR, 24 * HOUR):
        clocked_box.unlock(5 * DAY - behind)
    assert clocked_box.seen == 5 * DAY
    for behind in (24 * HOUR + SECOND, 4 * DAY):
        assert refusal(lambda behind=behind: clocked_box.unlock(5 * DAY - behind)) == "clock_rollback"  # type: ignore[misc]
    clocked_box.unlock(5 * DAY)


@pytest.mark.parametrize("step_back", [NOTHING, HOUR, 20 * DAY])
def test_the_vendor_says_how_far_it_may_be_behind(step_back: timedelta, clocked_box: ClockedBox) -> None:
    clocked_box.issue(policy=Policy(step_back=step_back), not_before=NOW - 30 * DAY)
    clocked_box.run_daily(5 * DAY)
    clocked_box.unlock(5 * DAY - step_back)
    assert refusal(lambda: clocked_box.unlock(5 * DAY - step_back - SECOND)) == "clock_rollback"


def test_a_license_tells_the_time_at_which_it_was_issued(clocked_box: ClockedBox) -> None:
    """A vendor's clock is not the customer's: what it signed has passed."""
    clocked_box.issue(NOW + 20 * DAY)
    assert refusal(lambda: clocked_box.unlock(19 * DAY - SECOND)) == "not_yet_valid"
    clocked_box.issue(NOW + 20 * DAY, not_before=NOW)
    assert refusal(lambda: clocked_box.unlock(19 * DAY - SECOND)) == "clock_rollback"
    clocked_box.unlock(19 * DAY)
    assert clocked_box.seen == 20 * DAY
    clocked_box.issue()
    assert refusal(lambda: clocked_box.unlock(19 * DAY - SECOND)) == "clock_rollback"


def test_the_state_is_written_once_an_hour(clocked_box: ClockedBox) -> None:
    before = clocked_box.state_file.stat().st_ino
    for minutes in (0, 1, 30, 59):
        clocked_box.unlock(timedelta(minutes=minutes))
        assert (clocked_box.state_file.stat().st_ino, clocked_box.seen) == (before, NOTHING)
    clocked_box.unlock(HOUR)
    assert clocked_box.seen == HOUR


def test_the_time_at_which_a_license_was_found_to_have_ended_is_not_forgotten(clocked_box: ClockedBox) -> None:
    """Whoever reads that the license has ended may set the clock back and try again."""
    clocked_box.run_daily(29 * DAY)
    for days in (30, 31, 32):
        assert refusal(lambda days=days: clocked_box.unlock(days * DAY)) == "expired"  # type: ignore[misc]
        assert clocked_box.seen == days * DAY
    assert refusal(lambda: clocked_box.unlock(29 * DAY)) == "clock_rollback"


def test_within_the_step_back_a_license_that_had_ended_stays_ended(clocked_box: ClockedBox) -> None:
    clocked_box.run_daily(30 * DAY - HOUR)
    assert refusal(lambda: clocked_box.unlock(30 * DAY + HOUR)) == "expired"
    assert refusal(lambda: clocked_box.unlock(30 * DAY - HOUR)) == "expired"
    clocked_box.issue(expires=NOW + 40 * DAY).unlock(30 * DAY - HOUR)


@pytest.mark.parametrize("spoil", ["home", "machine", "state"])
def test_nothing_hides_that_a_license_has_ended(spoil: str, clocked_box: ClockedBox, tmp_path: Path) -> None:
    clocked_box.state_file.unlink()
    scene = clocked_box.scene
    changes: dict[str, Any] = {}
    if spoil == "home":
        changes = {"home": tmp_path / "nowhere", "trust": clocked_box.home / "trust.jwks"}
    elif spoil == "machine":
        changes = {"hardware": scene.stranger.hardware}
    assert refusal(lambda: clocked_box.unlock(32 * DAY, **changes)) == "expired"


def test_a_license_for_another_device_key_records_nothing(clocked_box: ClockedBox, lock_scene: Scene) -> None:
    before = clocked_box.state
    clocked_box.issue(box=lock_scene.same_hardware)
    assert refusal(lambda: clocked_box.unlock(DAY)) == "device_key_mismatch"
    assert refusal(lambda: clocked_box.unlock(31 * DAY)) == "expired"
    assert clocked_box.state == before


def test_a_caller_with_a_clock_of_its_own_is_believed_and_leaves_no_trace(clocked_box: ClockedBox) -> None:
    """docs/limitations.md says so: who calls from Python can as well leave the step out."""
    clocked_box.run_daily(5 * DAY)
    for since in (NOTHING, 29 * DAY):
        clocked_box.scene.unlock(clocked_box.license, home=clocked_box.home, now=NOW + since)
    assert clocked_box.seen == 5 * DAY
    clocked_box.state_file.unlink()
    clocked_box.scene.unlock(clocked_box.license, home=clocked_box.home, now=NOW)
    assert not clocked_box.state_file.exists()


# Far ahead.


def test_a_far_jump_is_not_believed_at_once(clocked_box: ClockedBox) -> None:
    clocked_box.unlock(FAR)
    assert clocked_box.seen == FAR
    clocked_box.unlock(2 * FAR + SECOND)
    assert (clocked_box.seen, clocked_box.state.provisional) == (FAR, int((NOW + 2 * FAR + SECOND).timestamp()))
    clocked_box.unlock(FAR)
    assert (clocked_box.seen, clocked_box.state.provisional) == (FAR, None)


def test_a_later_start_confirms_it(clocked_box: ClockedBox) -> None:
    clocked_box.unlock(10 * DAY)
    clocked_box.unlock(10 * DAY + CONFIRMED - SECOND)
    assert clocked_box.seen == NOTHING
    clocked_box.unlock(10 * DAY + CONFIRMED)
    assert (clocked_box.seen, clocked_box.state.provisional) == (10 * DAY + CONFIRMED, None)
    assert refusal(lambda: clocked_box.unlock(10 * DAY)) == "clock_rollback"


def test_a_clock_that_comes_back_part_of_the_way_begins_again(clocked_box: ClockedBox) -> None:
    clocked_box.unlock(25 * DAY)
    clocked_box.unlock(15 * DAY)
    clocked_box.unlock(15 * DAY - HOUR)  # Clocks are set by small steps all the time.
    assert clocked_box.state.provisional == int((NOW + 15 * DAY).timestamp())
    clocked_box.unlock(15 * DAY + CONFIRMED)
    assert clocked_box.seen == 15 * DAY + CONFIRMED


def test_far_ahead_a_license_can_be_refused_and_works_again_afterwards(clocked_box: ClockedBox) -> None:
    assert refusal(lambda: clocked_box.unlock(4000 * DAY)) == "expired"
    assert clocked_box.seen == NOTHING
    clocked_box.unlock(HOUR)
    assert (clocked_box.seen, clocked_box.state.provisional) == (HOUR, None)


def test_a_renewed_license_makes_a_long_pause_no_jump(clocked_box: ClockedBox) -> None:
    """The box was off for half a year; what the vendor signed yesterday says that this is right."""
    clocked_box.issue(NOW + 180 * DAY, expires=NOW + 400 * DAY).unlock(181 * DAY)
    assert (clocked_box.seen, clocked_box.state.provisional) == (181 * DAY, None)


# The state and its twin.


def test_a_missing_state_is_refused_and_not_made_again(clocked_box: ClockedBox) -> None:
    clocked_box.unlock(DAY)
    clocked_box.state_file.unlink()
    for _ in range(2):
        assert refusal(lambda: clocked_box.unlock(DAY)) == "clock_state_missing"
    assert not clocked_box.state_file.exists()


def test_a_state_of_another_device_key_is_refused(clocked_box: ClockedBox, lock_scene: Scene) -> None:
    start_state(clocked_box.home, lock_scene.stranger.device_key, NOW)
    assert refusal(lambda: clocked_box.unlock(DAY)) == "clock_state_invalid"


@pytest.mark.parametrize(("days", "reason"), [(1, ""), (1.0001, "clock_state_replayed"), (20, "clock_state_replayed")])
def test_an_older_state_that_is_put_back_is_refused(days: float, reason: str, clocked_box: ClockedBox) -> None:
    old = clocked_box.state_file.read_bytes()
    clocked_box.issue(NOW + days * DAY, not_before=NOW).unlock(days * DAY)
    clocked_box.state_file.write_bytes(old)
    clocked_box.issue()
    if reason:
        for since in (NOTHING, days * DAY):
            assert refusal(lambda since=since: clocked_box.unlock(since)) == reason  # type: ignore[misc]
    else:
        clocked_box.unlock(HOUR)


def test_a_state_from_before_a_clock_reset_is_refused(clocked_box: ClockedBox) -> None:
    """Both have seen the same time; the id of the reset is what the older one lacks."""
    old = clocked_box.state_file.read_bytes()
    clocked_box.write(resets=("5d2d6d1e-6f2e-4c0b-8f0a-0d6b1a3e9c11",))
    clocked_box.unlock(DAY)
    clocked_box.state_file.write_bytes(old)
    assert refusal(lambda: clocked_box.unlock(DAY)) == "clock_state_replayed"


@pytest.mark.parametrize("content", [None, b"", b"{}", b"damaged", b'{"mac":"","state":{}}'])
def test_a_twin_that_is_not_there_or_says_nothing_is_made_again(content: bytes | None, clocked_box: ClockedBox) -> None:
    clocked_box.twin.unlink()
    if content is not None:
        clocked_box.twin.write_bytes(content)
    clocked_box.unlock(timedelta(minutes=1))
    assert clocked_box.twin.read_bytes() == clocked_box.state_file.read_bytes()


def test_without_a_place_for_the_twin_everything_works(
    clocked_box: ClockedBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file" / "state", tmp_path / "file", Path("/proc/nowhere")):
        monkeypatch.setenv("WEIGHTLOCK_STATE", str(place))
        clocked_box.unlock(clocked_box.seen + DAY)
    assert clocked_box.seen == 3 * DAY


def test_a_home_that_cannot_be_written_is_refused_when_there_is_something_to_write(
    clocked_box: ClockedBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise StorageError("there is no space left", reason="storage_full")

    monkeypatch.setattr(time_state, "new_file", full)
    clocked_box.unlock(timedelta(minutes=59))
    assert refusal(lambda: clocked_box.unlock(HOUR)) == "clock_state_unwritable"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_leaves_the_state_to_the_owner_of_the_home(clocked_box: ClockedBox) -> None:
    os.chown(clocked_box.home, 65534, 65534)
    clocked_box.unlock(DAY)
    assert (clocked_box.seen, clocked_box.state_file.stat().st_uid) == (DAY, 65534)


def unlock_many(box: ClockedBox, together: object, outcomes: object) -> None:
    try:
        for number in range(1, 30):
            together.wait(60)  # type: ignore[attr-defined]
            box.unlock(number * 6 * HOUR)
        outcomes.put("")  # type: ignore[attr-defined]
    except LicensingError as error:
        outcomes.put(error.reason)  # type: ignore[attr-defined]


def test_processes_that_start_at_once_do_not_disturb_each_other(clocked_box: ClockedBox) -> None:
    """All start after a pause, so that all want to write: none may take another's work for a replayed state."""
    clocked_box.issue(policy=Policy(step_back=NOTHING))
    context = multiprocessing.get_context("fork")
    together, outcomes = context.Barrier(4), context.Queue()
    workers = [context.Process(target=unlock_many, args=(clocked_box, together, outcomes)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert [outcomes.get(timeout=60) for _ in workers] == [""] * 4
    for worker in workers:
        worker.join()
    assert clocked_box.seen == 29 * 6 * HOUR
    assert sorted(os.listdir(clocked_box.home)) == ["device-key.pem", "time-state.json", "trust.jwks"]


def test_what_another_process_wrote_meanwhile_is_not_undone(
    clocked_box: ClockedBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came between reading and locking; what it wrote is later."""

    @contextlib.contextmanager
    def locked_after_another(home: Path) -> Iterator[None]:
        clocked_box.write(highest=int((NOW + 2 * DAY).timestamp()))
        yield

    monkeypatch.setattr(clock_check, "locked_directory", locked_after_another)
    clocked_box.unlock(DAY + HOUR)
    assert clocked_box.seen == 2 * DAY


# Witnesses.


def ahead(*offsets: float) -> tuple[Witness, ...]:
    """Returns witnesses that are ahead of NOW by these seconds."""
    names = ("system call", "new file", "boot time")
    return tuple(Witness(name, NOW.timestamp() + offset) for name, offset in zip(names, offsets, strict=False))


@pytest.mark.parametrize("others", [(), (1e9,), (1e9, 0, 0), (0, 0, 1e9), (-1e9, -1e9, -1e9), (86400, 86400, 86400)])
def test_one_witness_alone_and_witnesses_behind_prove_nothing(
    others: tuple[float, ...], clocked_box: ClockedBox
) -> None:
    clocked_box.unlock(NOTHING, ahead(*others))


@pytest.mark.parametrize("others", [(86401, 86401), (1e9, 0, 1e9), (0, 1e9, 1e9), (1e9, 1e9, 1e9)])
def test_two_witnesses_ahead_show_a_faked_clock(others: tuple[float, ...], clocked_box: ClockedBox) -> None:
    clocked_box.state_file.unlink()  # Nothing that is stored is needed.
    assert refusal(lambda: clocked_box.unlock(NOTHING, ahead(*others))) == "clock_faked"


def test_witnesses_may_be_ahead_a_little_where_the_clock_may_not_go_back(clocked_box: ClockedBox) -> None:
    clocked_box.issue(policy=Policy(step_back=NOTHING))
    clocked_box.unlock(NOTHING, ahead(*[WITNESS_ALLOWANCE_SECONDS] * 3))
    others = ahead(*[WITNESS_ALLOWANCE_SECONDS + 1] * 3)
    assert refusal(lambda: clocked_box.unlock(NOTHING, others)) == "clock_faked"


# The clock of a TPM.


def reading(passed: timedelta, resets: int = 3, safe: bool = True) -> TpmClock:
    return TpmClock(1_000_000 + int(passed / timedelta(milliseconds=1)), resets, 0, safe)


def test_a_tpm_notices_a_clock_that_stands_still(clocked_box: ClockedBox) -> None:
    """The highest time seen does not move for somebody who sets the same time before each start; the TPM's does."""
    for days in (0, 1, 1.5):
        clocked_box.check(NOTHING, reading(days * DAY))
    with pytest.raises(LicensingError) as refused:
        clocked_box.check(NOTHING, reading(1.51 * DAY))
    assert refused.value.reason == "clock_rollback"
    clocked_box.check(NOTHING, None)


def test_a_tpm_notices_it_across_restarts(clocked_box: ClockedBox) -> None:
    clocked_box.check(NOTHING, reading(NOTHING))
    assert refusal(lambda: clocked_box.check(NOTHING, reading(30 * DAY, resets=40))) == "clock_rollback"


@pytest.mark.parametrize(
    "later", [reading(30 * DAY, safe=False), reading(30 * DAY, resets=2), reading(-timedelta(seconds=900)), None]
)
def test_readings_that_cannot_be_compared_say_nothing(later: TpmClock | None, clocked_box: ClockedBox) -> None:
    """The value may be wrong after a loss of power; a lower count of resets belongs to a TPM that was cleared."""
    clocked_box.check(NOTHING, reading(NOTHING))
    clocked_box.check(NOTHING, later)


def test_the_reading_is_kept_with_the_time_and_moves_on_with_it(clocked_box: ClockedBox) -> None:
    now = int(NOW.timestamp())
    clocked_box.check(NOTHING, reading(NOTHING, safe=False))
    clocked_box.check(NOTHING, TpmClock(2**60, 3, 0, True))
    assert clocked_box.state.tpm is None
    clocked_box.check(NOTHING, reading(NOTHING))
    assert clocked_box.state.tpm == TpmRecord(now, 1_000_000, 3, 0)
    clocked_box.check(DAY, reading(DAY, resets=4))
    assert clocked_box.state.tpm == TpmRecord(now + 86400, 1_000_000 + 86_400_000, 4, 0)
    clocked_box.check(2 * DAY, None)
    assert clocked_box.state.tpm == TpmRecord(now + 86400, 1_000_000 + 86_400_000, 4, 0)


# The status of a license.


def clock_check_of(box: ClockedBox, since: timedelta) -> tuple[str, str, bool]:
    """Returns the reason, the sentence and the warning of the clock's check, which writes nothing."""
    before = box.state_file.read_bytes() if box.state_file.exists() else None
    hardware = box.scene.box.hardware
    report = examine(box.license, home=box.home, hardware=hardware, clock=StandInClock(NOW + since))
    assert (box.state_file.read_bytes() if box.state_file.exists() else None) == before
    found = next(check for check in report.checks if check.name == "clock")
    return found.error.reason if found.error else "", found.sentence, found.warning


def test_status_has_a_check_of_the_clock(clocked_box: ClockedBox) -> None:
    assert clock_check_of(clocked_box, DAY) == ("", "not behind 2026-07-02 12:00 UTC, the highest time seen", False)
    far = "more than a day ahead of 2026-07-01 12:00 UTC, the highest time seen; is the date right?"
    assert clock_check_of(clocked_box, 20 * DAY) == ("", far, True)
    clocked_box.run_daily(5 * DAY)
    assert clock_check_of(clocked_box, DAY)[0] == "clock_rollback"
    clocked_box.state_file.unlink()
    assert clock_check_of(clocked_box, DAY)[0] == "clock_state_missing"


def test_status_of_a_license_for_other_hardware_has_it_too(clocked_box: ClockedBox) -> None:
    hardware = clocked_box.scene.box.with_gpus().hardware
    report = examine(clocked_box.license, home=clocked_box.home, hardware=hardware, clock=StandInClock(NOW))
    assert [check.name for check in report.checks if check.error is None][-2:] == ["device key", "clock"]


def test_a_copied_home_brings_its_state_along(clocked_box: ClockedBox, tmp_path: Path) -> None:
    """A backup that is put back, or a second copy, is older than the twin as soon as the first one goes on."""
    shutil.copytree(clocked_box.home, tmp_path / "copy")
    copy = replace(clocked_box, home=tmp_path / "copy")
    copy.unlock(DAY)
    clocked_box.run_daily(6 * DAY)
    assert refusal(lambda: copy.unlock(6 * DAY)) == "clock_state_replayed"
