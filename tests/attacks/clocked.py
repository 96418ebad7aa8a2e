"""A licensed box whose clock an attacker sets.

Nobody sets the clock of the machine that this runs on. Where an attack needs root to do so, unlocking is given a clock
that says what root would have set, with witnesses that agree; the time that passes is passed to a TPM, whose clock can
be advanced, and not set back.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import cast

from licensing.time_state import state_path, twin_path
from licensing.tpm import open_tpm
from tests.attacks.attack import Outcome, StoppedBy
from tests.attacks.boxes import CustomerBox, new_box
from tests.attacks.scene import STATE_VARIABLE, AttackScene, environment_variable
from tests.clocked_box import StandInClock
from tests.software_tpm import SoftwareTpm, TpmFactory

__all__ = ["DAY", "END", "Clocked", "clocked", "more_time"]

DAY = timedelta(days=1)
END = 30
"""After so many days the licenses here end."""


@dataclass(frozen=True)
class Clocked:
    """A licensed box with a home and a state directory of its own, whose clock an attacker sets."""

    scene: AttackScene
    box: CustomerBox
    state_directory: Path
    license: bytes
    begin: datetime

    @property
    def home(self) -> Path:
        return self.box.home

    @property
    def state(self) -> Path:
        return state_path(self.home)

    @property
    def twin(self) -> Path:
        return twin_path(self.box.device_key.thumbprint)

    def refusal(self, day: float) -> str | None:
        """Returns why unlocking refuses when the clock says that so many days have passed."""
        return self.scene.refusal(self.license, box=self.box, clock=StandInClock(self.begin + day * DAY))

    def pass_days(self, days: int) -> None:
        """Lets time pass for what nobody on the box can set back: the TPM's clock, while it has power."""
        if self.box.tpm is None:
            return
        with open_tpm(self.box.tpm.tcti) as tpm:
            passed = int(days * DAY.total_seconds() * 1000)
            tpm._context.clock_set(tpm.clock().milliseconds + passed)

    def use(self, first: int, last: int) -> None:
        """Uses the box every three days, as an honest customer does."""
        for day in range(first, last, 3):
            self.refusal(day)
            self.pass_days(3)


@contextmanager
def clocked(scene: AttackScene) -> Iterator[Clocked]:
    """Makes the box, licensed for 30 days. In the tier `tpm`, its TPM is one whose clock nothing else relies on."""
    state, home = scene.new_folder("clocked-state"), scene.new_folder("clocked-home")
    with environment_variable(STATE_VARIABLE, state):
        shutil.rmtree(home)
        makers = None if scene.foreign_tpm is None else cast(TpmFactory, _OneTpm(scene.foreign_tpm))
        box = new_box(home, scene.box.hardware, makers)
        shutil.copy(scene.trust, home / "trust.jwks")
        begin = datetime.now(timezone.utc)
        license = scene.issue(box=box, expires=begin + END * DAY)
        yield Clocked(scene, box, state, license, begin)


class _OneTpm:
    """What makes TPMs, for one that is there already."""

    def __init__(self, tpm: SoftwareTpm) -> None:
        self._tpm = tpm

    def new(self, name: str) -> SoftwareTpm:
        return self._tpm


def more_time(reason: str | None, what: str) -> Outcome:
    """Judges an attack on the dates, which are checks all of them: why our program refused; None if it did not."""
    if reason is None:
        return Outcome(f"{what}: unlocked", StoppedBy.NOTHING, "more time")
    return Outcome(f"{what}: refused ({reason}); a program without checks goes on", StoppedBy.CHECK, "more time")
