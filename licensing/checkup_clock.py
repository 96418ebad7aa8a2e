"""The check-up of the clock and of the time state: what would refuse licenses later, found without any license."""

import ctypes
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from licensing.clock_check import check_witnesses
from licensing.clock_witnesses import Clock
from licensing.device_key import DeviceKey
from licensing.encoding import from_epoch
from licensing.errors import (
    ClockFakedError,
    ClockRollbackError,
    ClockStateReplayedError,
    LicensingError,
)
from licensing.findings import Finding
from licensing.local_time import local_text, remaining_text
from licensing.policy import DEFAULT_POLICY
from licensing.surroundings import System
from licensing.time_state import StateKey, read_state, read_twin, twin_path

__all__ = ["check_clock_of_box", "check_time_state", "is_synchronised"]

FAR_SECONDS = 26 * 3600
"""The hardware's clock may keep the local time, which is up to 14 hours away; the rest is what may be tolerated."""

_STEP_BACK = int(DEFAULT_POLICY.step_back.total_seconds())
_STA_UNSYNC, _TIME_ERROR = 0x40, 5


def check_clock_of_box(
    system: System, clock: Clock, now: datetime, home: Path, synchronised: bool | None
) -> Iterator[Finding]:
    """Checks the clock.

    Args:
        system: what this process runs in.
        clock: whose witnesses are asked.
        now: what it says.
        home: where a file may be made for a moment.
        synchronised: whether the kernel is told the time by another clock; None where it does not say.
    """
    try:
        check_witnesses(now, clock.witnesses((home,)), 0)
    except ClockFakedError as error:
        why = "licenses are refused while a process is shown another clock than the system's"
        yield Finding("clock", "problem", error.reason, error.message, why, error.hints[0])
    hardware = system.text("/sys/class/rtc/rtc0/since_epoch")
    if hardware is not None and hardware.isdecimal() and abs(int(hardware) - now.timestamp()) > FAR_SECONDS:
        yield Finding(
            "clock",
            "warning",
            "clock_far_off",
            f"the clock says {local_text(now)}, and the clock of the hardware {local_text(from_epoch(int(hardware)))}",
            "one of them is wrong; after a restart the system may begin with that of the hardware, and licenses are "
            "then refused until it is right",
            "set the clock right, switch time synchronisation on, and then run 'hwclock --systohc'",
        )
    if synchronised is False:
        yield Finding(
            "clock",
            "note",
            "clock_unsynchronised",
            f"no other clock keeps this one right (the kernel says so); it says {local_text(now)}",
            "a clock that is left alone goes wrong by seconds a day, and by years when a battery fails",
            "switch time synchronisation on, such as with 'timedatectl set-ntp true', if there is a network",
        )
    else:
        yield Finding("clock", "ok", "clock", f"it says {local_text(now)}")


def check_time_state(home: Path, device_key: DeviceKey, now: datetime) -> Iterator[Finding]:
    """Checks the highest time seen, as unlocking does, but for what only a license says.

    Args:
        home: the customer's home.
        device_key: its device key, open.
        now: what the clock says.
    """
    key = StateKey.of(device_key)
    try:
        state = read_state(home, key)
    except LicensingError as error:
        yield _refusal(error)
        return
    twin, seconds = read_twin(twin_path(device_key.thumbprint), key), int(now.timestamp())
    highest = state.highest
    if twin is not None:
        ahead = twin.resets == state.resets and twin.highest - state.highest > _STEP_BACK
        if ahead or set(twin.resets) - set(state.resets):
            when = local_text(from_epoch(twin.highest))
            yield _refusal(
                ClockStateReplayedError(f"the home is older than its twin, which has seen {when}: it was put back")
            )
        highest = max(highest, twin.highest) if twin.resets == state.resets else highest
    if seconds < highest - _STEP_BACK:
        behind = remaining_text(from_epoch(highest) - now)
        when = local_text(from_epoch(highest))
        yield _refusal(ClockRollbackError(f"the clock is {behind} behind {when}, the highest time seen here"))
    elif state.provisional is not None:
        yield Finding(
            "clock",
            "note",
            "clock_ahead",
            f"the clock is more than a day ahead of {local_text(from_epoch(highest))}, the highest time seen here",
            "after a pause that is right; if it is not, it is believed in three days, and to set it right after that "
            "makes licenses be refused",
            "look whether date and year are right",
        )
    else:
        yield Finding("clock", "ok", "time_state", f"the highest time seen is {local_text(from_epoch(highest))}")


def _refusal(error: LicensingError) -> Finding:
    why = "every license that is bound to this device key is refused"
    return Finding("clock", "problem", error.reason, error.message, why, "; or ".join(error.hints))


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), as far as it is needed; the rest is left blank."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        *[(name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")],
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    ]


def is_synchronised() -> bool | None:
    """Asks the kernel whether another clock keeps its clock right (adjtimex(2)); None where it may not be asked."""
    timex = _Timex()
    state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    return None if state < 0 else state != _TIME_ERROR and not timex.status & _STA_UNSYNC
