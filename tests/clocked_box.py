"""A licensed box with a time state of its own, and a clock that a test sets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from licensing.clock_check import ClockFinding, check_clock
from licensing.clock_witnesses import TpmClock, Witness
from licensing.device_key import DeviceKey, device_key_path
from licensing.license import License, LicenseFile, read_claims
from licensing.time_state import StateKey, TimeState, read_state, start_state, state_path, twin_path
from licensing.unlock import UnlockedModel
from tests.lock_scene import NOW, Scene

__all__ = ["DAY", "HOUR", "SECOND", "ClockedBox", "StandInClock", "TpmStandIn", "clocked_box"]

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class StandInClock:
    """A clock that says what a test wants, with witnesses that say it, too, unless they are given."""

    moment: datetime
    others: tuple[Witness, ...] | None = None

    def now(self) -> datetime:
        return self.moment

    def witnesses(self, directories: Sequence[Path]) -> Sequence[Witness]:
        if self.others is not None:
            return self.others
        return [Witness(name, self.moment.timestamp()) for name in ("system call", "new file", "boot time")]


@dataclass
class TpmStandIn:
    """A device key with the clock of a TPM; the rest is the software key's."""

    key: DeviceKey
    reading: TpmClock | None = None

    @property
    def thumbprint(self) -> str:
        return self.key.thumbprint

    def authentication_key(self, purpose: str) -> bytes:
        return self.key.authentication_key(purpose)

    def clock(self) -> TpmClock | None:
        return self.reading


@dataclass(frozen=True)
class ClockedBox:
    """The licensed box of the scene, with a home of its own whose time state begins at NOW.

    Attributes:
        scene: who issues licenses.
        home: the home.
        license: for 30 days from NOW.
    """

    scene: Scene
    home: Path
    license: Path

    @property
    def key(self) -> StateKey:
        return StateKey.of(self.scene.box.device_key)

    @property
    def state(self) -> TimeState:
        """The time state as it lies in the home."""
        return read_state(self.home, self.key)

    @property
    def seen(self) -> timedelta:
        """The highest time seen, as what has passed since NOW."""
        return timedelta(seconds=self.state.highest) - timedelta(seconds=NOW.timestamp())

    @property
    def state_file(self) -> Path:
        return state_path(self.home)

    @property
    def twin(self) -> Path:
        return twin_path(self.scene.box.device_key.thumbprint)

    def issue(self, now: datetime = NOW, **terms: Any) -> "ClockedBox":
        """Writes another license over the one that is there."""
        self.license.write_bytes(self.scene.issue(now=now, **terms))
        return self

    def unlock(self, since: timedelta, others: tuple[Witness, ...] | None = None, **changes: Any) -> UnlockedModel:
        """Unlocks the model when the clock says that so much has passed since NOW."""
        clock = StandInClock(NOW + since, others)
        return self.scene.unlock(self.license, **{"home": self.home, "now": None, "clock": clock, **changes})

    def run_daily(self, since: timedelta) -> None:
        """Unlocks the model every day until so much has passed since NOW, so that the time is the highest one seen."""
        while self.seen < since:
            self.unlock(min(since, self.seen + DAY))

    def claims(self) -> tuple[License, str]:
        """Returns the claims of the license and the thumbprint of the key that signed it."""
        file = LicenseFile.parse(self.license.read_bytes())
        return read_claims(file), file.signed.kid

    def check(self, since: timedelta, tpm: TpmClock | None) -> ClockFinding:
        """Makes the last step alone, with a device key in a TPM whose clock says this."""
        claims, vendor_key = self.claims()
        key, clock = TpmStandIn(self.scene.box.device_key, tpm), StandInClock(NOW + since)
        return check_clock(self.home, key, claims, vendor_key, clock.moment, clock)

    def write(self, **changes: Any) -> None:
        """Changes the time state, as somebody could who holds the device key, and leaves the twin as it is."""
        self.state_file.write_bytes(replace(self.state, **changes).to_bytes(self.key))


@pytest.fixture
def clocked_box(lock_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClockedBox:
    """Returns a box that nobody else uses, with a state directory that nobody else uses."""
    monkeypatch.setenv("WEIGHTLOCK_STATE", str(tmp_path / "state"))
    home, license = tmp_path / "home", tmp_path / "acme.lic"
    home.mkdir()
    for name in (device_key_path(home).name, "trust.jwks"):
        (home / name).write_bytes((lock_scene.box.home / name).read_bytes())
    start_state(home, lock_scene.box.device_key, NOW)
    return ClockedBox(lock_scene, home, license).issue()
