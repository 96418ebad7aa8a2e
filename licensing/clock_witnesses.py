"""The clock, and what tells when a process is shown another one than the system keeps.

docs/spec/license.md, section 15.2. `faketime` and its like replace functions of the C library in one process. What the
kernel writes down itself, they do not reach: when the system booted and for how long it has run, the time of a file
that is made now, and what the system call answers without the library's function. Whoever sets the clock of the whole
system changes all of them; against that stands the highest time seen.
"""

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

__all__ = ["Clock", "SystemClock", "TpmClock", "Witness"]

_CLOCK_GETTIME = {"x86_64": 228, "aarch64": 113}
"""The numbers of the system call where a timespec is two 64-bit integers (the kernel's tables of system calls)."""

CLOCK_REALTIME = 0


@dataclass(frozen=True)
class Witness:
    """What one witness says the time is, in seconds since 1970."""

    name: str
    seconds: float


@dataclass(frozen=True)
class TpmClock:
    """One reading of a TPM's clock, as TPM2_ReadClock gives it (TPM 2.0 Library, part 2, TPMS_CLOCK_INFO).

    Attributes:
        milliseconds: for how long the TPM has been powered since it was last cleared.
        reset_count: how often it was reset since then; a restart of the machine is a reset.
        restart_count: how often it was suspended or restarted since the last reset.
        safe: whether no greater value can have been reported before, after power was lost suddenly.
    """

    milliseconds: int
    reset_count: int
    restart_count: int
    safe: bool


class Clock(Protocol):
    """Where unlocking takes the time from. Tests put one in the place of the system's."""

    def now(self) -> datetime:
        """Returns the time that this process is shown."""

    def witnesses(self, directories: Sequence[Path]) -> Iterable[Witness]:
        """Returns what the witnesses say; `directories` are places where a file may be made, the first ones first."""


class SystemClock:
    """The clock of this system.

    Args:
        proc: where the kernel shows its figures.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def now(self) -> datetime:
        """Returns the time that this process is shown."""
        return datetime.now(timezone.utc)

    def witnesses(self, directories: Sequence[Path]) -> list[Witness]:
        """Returns what can be asked here: containers hide some of it, and none of it is a must."""
        answers = {
            "system call": _system_call_seconds(),
            "new file": next(filter(None, map(_new_file_seconds, directories)), None),
            "boot time": _boot_seconds(self._proc),
        }
        return [Witness(name, seconds) for name, seconds in answers.items() if seconds is not None]


def _boot_seconds(proc: Path) -> float | None:
    """Returns when the system booted (proc_stat(5)) plus for how long it has run (proc_uptime(5))."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        uptime = float((proc / "uptime").read_bytes().split()[0])
        with open(proc / "stat", "rb") as lines:
            boot = next((int(line.split()[1]) for line in lines if line.startswith(b"btime ")), None)
        return None if boot is None else boot + uptime
    return None


def _new_file_seconds(directory: Path) -> float | None:
    """Returns the time that the file system gives to a file that is made now."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            return os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)
    return None


def _system_call_seconds() -> float | None:
    """Returns what clock_gettime(2) answers when it is called by its number."""
    number = _CLOCK_GETTIME.get(os.uname().machine)
    if number is None:
        return None
    import ctypes  # Deferred: reading GPUs brings it, and vendors need neither.

    answer = (ctypes.c_int64 * 2)()
    if ctypes.CDLL(None).syscall(number, CLOCK_REALTIME, ctypes.byref(answer)) != 0:
        return None
    return answer[0] + answer[1] / 1e9
