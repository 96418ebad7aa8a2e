"""Checking the clock against the witnesses and against the highest time seen. docs/spec/license.md, section 15.2.

It is a check in software: a patched program can leave it out. It stops whoever sets the clock back, or starts the
program under another clock, and uses what is installed as it is.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from licensing.clock_witnesses import Clock, Witness
from licensing.directory_lock import locked_directory
from licensing.encoding import from_epoch, to_epoch
from licensing.errors import (
    ClockFakedError,
    ClockRollbackError,
    ClockStateInvalidError,
    ClockStateReplayedError,
    ClockStateUnwritableError,
    ExpiredError,
)
from licensing.license import License
from licensing.local_time import local_text
from licensing.time_state import (
    Authenticator,
    StateKey,
    TimeState,
    TpmRecord,
    read_state,
    read_twin,
    state_path,
    twin_path,
    write_state,
    write_twin,
)
from licensing.validity import has_ended

__all__ = [
    "CONFIRMED_AFTER_SECONDS",
    "FAR_JUMP_SECONDS",
    "ClockFinding",
    "certain_time",
    "check_clock",
    "check_witnesses",
]

FAR_JUMP_SECONDS = 86400
"""Beyond this, a time that is ahead of the highest one seen is believed only once a later start confirms it.

A wrong day, month or year in somebody's clock is then forgotten when the clock is put right. What is believed at once
is no more than what licenses tolerate backwards, unless the vendor says otherwise.
"""

CONFIRMED_AFTER_SECONDS = 72 * 3600
WRITTEN_AFTER_SECONDS = 3600
WITNESSES_NEEDED = 2
WITNESS_ALLOWANCE_SECONDS = 120
"""Witnesses count in whole seconds or come from a file server; this much never makes a difference."""


@dataclass(frozen=True)
class ClockFinding:
    """What a check found that refuses nothing.

    Attributes:
        highest: the highest time seen, with this one if it is believed.
        provisional: whether the clock is so far ahead of it that it is not believed yet.
    """

    highest: datetime
    provisional: bool


@dataclass(frozen=True)
class _Presented:
    """What the time state is compared with, in seconds since 1970."""

    now: int
    issued: int
    step_back: int
    vendor_key: str
    tpm: TpmRecord | None


def check_clock(
    home: Path,
    device_key: Authenticator,
    claims: License,
    vendor_key: str,
    now: datetime,
    clock: Clock,
    *,
    record: bool = True,
) -> ClockFinding:
    """Checks the clock, and records the time where it is the highest one seen by an hour or more.

    Args:
        home: the customer's home.
        device_key: open.
        claims: of the license, whose signature has been verified.
        vendor_key: the thumbprint of the key that signed it.
        now: what the clock said.
        clock: whose witnesses are asked.
        record: whether anything may be written.

    Raises:
        ClockFakedError, ClockRollbackError: the clock of this process, or of this machine, is behind.
        ClockStateMissingError, ClockStateInvalidError, ClockStateReplayedError: the time state went wrong.
        ClockStateUnwritableError: the time must be recorded, and cannot be.
        ExpiredError: the license had ended already at the highest time seen.
    """
    twin = twin_path(device_key.thumbprint)
    step_back = int(claims.policy.step_back.total_seconds())
    check_witnesses(now, clock.witnesses((home, twin.parent)), step_back)
    presented = _Presented(
        max(0, to_epoch(now)),
        to_epoch(claims.issued),
        step_back,
        vendor_key,
        TpmRecord.of(max(0, to_epoch(now)), device_key.clock()),
    )
    state = _judged(home, twin, StateKey.of(device_key), presented, record)
    if has_ended(claims, from_epoch(state.highest)):
        raise ExpiredError(
            f"the license ended at {local_text(claims.expires)}, and the clock of this machine has been past its end"
        )
    return ClockFinding(from_epoch(state.highest), state.provisional is not None)


def check_witnesses(now: datetime, witnesses: Iterable[Witness], step_back_seconds: int) -> None:
    """Compares the clock of this process with witnesses that do not go through it.

    Raises:
        ClockFakedError: two of them say that it is later, by more than the clock may be behind.
    """
    latest = now.timestamp() + max(step_back_seconds, WITNESS_ALLOWANCE_SECONDS)
    ahead = [witness for witness in witnesses if witness.seconds > latest]
    if len(ahead) >= WITNESSES_NEEDED:
        names = " and ".join(witness.name for witness in ahead[:WITNESSES_NEEDED])
        raise ClockFakedError(
            f"the clock that this process is shown says {local_text(now)}, and {names} say that it is later"
        )


def _judged(home: Path, twin: Path, key: StateKey, presented: _Presented, record: bool) -> TimeState:
    """Returns the time state as it is from now on, written if it must be."""
    # The twin is read first: see `write_state`.
    copy, state = read_twin(twin, key), read_state(home, key)
    judged = _judge(state, copy, presented)
    if not _worth_writing(state, judged):
        if record and (copy is None or copy.resets != state.resets):
            write_twin(twin, state.to_bytes(key))
        return judged
    if not record:
        _check_writable(home)
        return judged
    with locked_directory(home):
        copy, state = read_twin(twin, key), read_state(home, key)
        judged = _judge(state, copy, presented)
        if _worth_writing(state, judged):
            write_state(home, twin, judged, key)
    return judged


def _judge(state: TimeState, twin: TimeState | None, presented: _Presented) -> TimeState:
    """Returns what the time state becomes, or refuses."""
    if state.reset_by and presented.vendor_key not in state.reset_by:
        raise ClockStateInvalidError(
            "the time state was mended by a clock reset of another vendor than the one of this license",
            "ask the vendor of this license for a clock reset, too: 'weightlock apply' takes it",
        )
    if twin is not None and _is_older(state, twin, presented.step_back):
        raise ClockStateReplayedError(
            "the time state was replaced by an older one: another copy of it has seen "
            f"{local_text(from_epoch(twin.highest))}"
        )
    highest = max(presented.issued, certain_time(state, presented.tpm))
    if presented.now < highest - presented.step_back:
        raise ClockRollbackError(
            f"the clock of this machine says {local_text(from_epoch(presented.now))}, "
            f"and it has been {local_text(from_epoch(highest))} before"
        )
    if presented.now <= highest + FAR_JUMP_SECONDS:
        return _advanced(state, max(highest, presented.now), presented)
    began = state.provisional
    if began is None or presented.now < began - presented.step_back:
        began = presented.now
    if presented.now - began >= CONFIRMED_AFTER_SECONDS:
        return _advanced(state, presented.now, presented)
    return replace(state, highest=highest, provisional=began)


def _advanced(state: TimeState, highest: int, presented: _Presented) -> TimeState:
    tpm = state.tpm if presented.tpm is None else replace(presented.tpm, at=highest)
    return replace(state, highest=highest, provisional=None, tpm=tpm)


def _is_older(state: TimeState, twin: TimeState, step_back: int) -> bool:
    """Tells whether the home's state is older than its twin. A clock reset may lower the time: its id tells."""
    if set(twin.resets) - set(state.resets):
        return True
    return twin.resets == state.resets and twin.highest - state.highest > step_back


def certain_time(state: TimeState, reading: TpmRecord | None) -> int:
    """Returns the latest time that has passed for certain: the highest one seen, or what a TPM's clock adds to it.

    The TPM has been powered for so long since its record. A third is taken off, so that a TPM whose clock runs fast
    locks nobody out.
    """
    record = state.tpm
    if record is None or reading is None or reading.reset_count < record.reset_count:
        return state.highest
    passed = max(0, reading.milliseconds - record.milliseconds) * 2 // 3000
    return max(state.highest, record.at + passed)


def _worth_writing(before: TimeState, after: TimeState) -> bool:
    return (
        after.highest - before.highest >= WRITTEN_AFTER_SECONDS
        or after.provisional != before.provisional
        or (before.tpm is None and after.tpm is not None)
    )


def _check_writable(home: Path) -> None:
    if not os.access(home, os.W_OK):
        raise ClockStateUnwritableError(f"the highest time seen cannot be stored: {str(state_path(home))!r}")
