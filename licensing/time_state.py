"""The time state: the highest time that a box has seen, kept so that a clock that is set back is noticed.

docs/spec/license.md, section 15.1. It lies in the customer's home, made together with the device key and authenticated
with it, and has a twin in another directory, by which an older copy that is put back shows itself.
"""

import contextlib
import hashlib
import hmac
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from licensing.clock_witnesses import TpmClock
from licensing.encoding import MAX_EPOCH, b64url_decode, b64url_encode, to_epoch
from licensing.errors import (
    ClockStateInvalidError,
    ClockStateMissingError,
    ClockStateUnwritableError,
    FileAccessError,
    LicensingError,
    StorageError,
)
from licensing.files import make_directory, new_file, read_bounded
from licensing.homes import state_directory
from licensing.jwk import THUMBPRINT_PATTERN
from licensing.strict_json import MAX_INTEGER, Fields, canonical, parse_canonical

__all__ = [
    "Authenticator",
    "StateKey",
    "TimeState",
    "TpmRecord",
    "read_state",
    "read_twin",
    "start_state",
    "state_path",
    "twin_path",
    "write_state",
    "write_twin",
]

STATE_VERSION = 1
MAX_STATE_BYTES = 64 * 1024
MAX_RESETS = 1000
MAX_VENDORS = 64
PURPOSE = "time-state"
UUID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class Authenticator(Protocol):
    """What a device key must do for the time state."""

    @property
    def thumbprint(self) -> str:
        """The device key's thumbprint."""

    def authentication_key(self, purpose: str) -> bytes:
        """Returns 32 bytes for one purpose that only the holder of the device key can make."""

    def clock(self) -> TpmClock | None:
        """Returns the reading of the TPM's clock, if the device key is in a TPM."""


@dataclass(frozen=True)
class StateKey:
    """What authenticates the time state of one device key: asking a TPM for it takes a while, so it is asked once.

    Attributes:
        device: the device key's thumbprint.
        key: 32 bytes.
    """

    device: str
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, device_key: Authenticator) -> "StateKey":
        """Derives it from an open device key."""
        return cls(device_key.thumbprint, device_key.authentication_key(PURPOSE))

    def mac(self, state: bytes) -> bytes:
        """Returns HMAC-SHA256 (RFC 2104) of a state in canonical form."""
        return hmac.digest(self.key, state, hashlib.sha256)


@dataclass(frozen=True)
class TpmRecord:
    """What a TPM's clock said at one time; `at` is that time in seconds since 1970, the rest as in `TpmClock`."""

    at: int
    milliseconds: int
    reset_count: int
    restart_count: int

    @classmethod
    def of(cls, now: int, reading: TpmClock | None) -> "TpmRecord | None":
        """Returns what is kept of a reading: nothing of one that cannot be compared with others."""
        if reading is None or not reading.safe or reading.milliseconds > MAX_INTEGER:
            return None
        return cls(now, reading.milliseconds, reading.reset_count, reading.restart_count)


@dataclass(frozen=True)
class TimeState:
    """The time state of one device key. Times are in seconds since 1970.

    Attributes:
        device: the device key's thumbprint.
        created: when the device key was made, by the clock of that moment.
        highest: the highest time seen.
        provisional: since when the clock has been far ahead of it, without having been believed yet.
        resets: the ids of the vendors' clock resets that were applied here.
        reset_by: after a reset that mended the state, the vendor keys whose licenses may rely on it; empty before.
        tpm: the TPM's clock at some time not after `highest`.
    """

    device: str
    created: int
    highest: int
    provisional: int | None = None
    resets: tuple[str, ...] = ()
    reset_by: tuple[str, ...] = ()
    tpm: TpmRecord | None = None

    def to_bytes(self, key: StateKey) -> bytes:
        """Returns the file: this state and its authentication, in canonical form."""
        state = self._members()
        return canonical({"mac": b64url_encode(key.mac(canonical(state))), "state": state})

    @classmethod
    def parse(cls, data: bytes, key: StateKey) -> "TimeState":
        """Parses and authenticates a state file.

        Raises:
            ClockStateInvalidError: it does not follow the specification, or this device key did not authenticate it.
        """
        what, error = "time state", ClockStateInvalidError
        outer = Fields(parse_canonical(data, what, error, MAX_STATE_BYTES), what, error)
        outer.only("mac", "state")
        members = outer.raw("state")
        try:
            mac = b64url_decode(outer.text("mac", 43))
        except ValueError:
            outer.fail("mac", "base64url")
        if not hmac.compare_digest(mac, key.mac(canonical(members))):
            raise ClockStateInvalidError("the time state was damaged, edited, or made with another device key")
        state = _read_state(Fields(members, what, error))
        if state.device != key.device:
            raise ClockStateInvalidError("the time state is that of another device key")
        return state

    def _members(self) -> dict[str, Any]:
        members: dict[str, Any] = {
            "ver": STATE_VERSION,
            "device": self.device,
            "created": self.created,
            "highest": self.highest,
            "resets": list(self.resets),
            "reset_by": list(self.reset_by),
        }
        if self.provisional is not None:
            members["provisional"] = self.provisional
        if self.tpm is not None:
            members["tpm"] = {
                "at": self.tpm.at,
                "clock": self.tpm.milliseconds,
                "resets": self.tpm.reset_count,
                "restarts": self.tpm.restart_count,
            }
        return members


def state_path(home: Path) -> Path:
    """Returns where the time state of a customer's home lies."""
    return home / "time-state.json"


def twin_path(device_thumbprint: str) -> Path:
    """Returns where the twin of a device key's time state lies: with the user, and not in the home."""
    return state_directory() / f"{device_thumbprint}.json"


def read_state(home: Path, key: StateKey) -> TimeState:
    """Reads the time state of a customer's home.

    Raises:
        ClockStateMissingError: there is none.
        ClockStateInvalidError: it does not follow the specification, or this device key did not authenticate it.
        FileAccessError: it cannot be read.
    """
    path = state_path(home)
    try:
        data = read_bounded(path, "time state", MAX_STATE_BYTES)
    except FileAccessError as cause:
        if cause.reason == "file_not_found":
            raise ClockStateMissingError(f"there is no time state {str(path)!r}") from cause
        raise
    return TimeState.parse(data, key)


def read_twin(twin: Path, key: StateKey) -> TimeState | None:
    """Reads a twin; None where it is not there or cannot be used, which is no evidence of anything."""
    try:
        return TimeState.parse(read_bounded(twin, "time state", MAX_STATE_BYTES), key)
    except LicensingError:
        return None


def start_state(home: Path, device_key: Authenticator, now: datetime) -> None:
    """Writes the first time state of a new device key, over whatever state of another key is there.

    Raises:
        StorageError: the home cannot be written.
    """
    seconds = max(0, to_epoch(now))
    key, tpm = StateKey.of(device_key), TpmRecord.of(seconds, device_key.clock())
    data = TimeState(device_key.thumbprint, created=seconds, highest=seconds, tpm=tpm).to_bytes(key)
    _write(state_path(home), data)
    write_twin(twin_path(device_key.thumbprint), data)


def write_state(home: Path, twin: Path, state: TimeState, key: StateKey) -> None:
    """Writes the time state to the home, and then to its twin, where that is possible.

    The order matters: a process that reads the twin first and the home second never finds the home behind because
    another process is at it.

    Raises:
        ClockStateUnwritableError: the home cannot be written.
    """
    data = state.to_bytes(key)
    try:
        _write(state_path(home), data)
    except StorageError as cause:
        raise ClockStateUnwritableError(f"the highest time seen cannot be stored: {cause.message}") from cause
    write_twin(twin, data)


def write_twin(twin: Path, data: bytes) -> None:
    """Writes a twin if that is possible; without one there is less evidence, and no refusal."""
    with contextlib.suppress(StorageError):
        make_directory(twin.parent)
        _write(twin, data)


def _write(path: Path, data: bytes) -> None:
    with new_file(path, mode=0o600, replace=True) as descriptor:
        if os.geteuid() == 0:
            # Root may unlock with another user's home, and must not take the state away from that user.
            owner = os.stat(path.parent)
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]


def _read_state(fields: Fields) -> TimeState:
    if fields.integer("ver") != STATE_VERSION:
        raise ClockStateInvalidError("the time state has an unknown version", "install a newer weightlock")
    fields.only("ver", "device", "created", "highest", "provisional", "resets", "reset_by", "tpm")
    state = TimeState(
        device=fields.text("device", 43, THUMBPRINT_PATTERN),
        created=fields.integer("created", 0, MAX_EPOCH),
        highest=fields.integer("highest", 0, MAX_EPOCH),
        provisional=fields.integer("provisional", 0, MAX_EPOCH) if "provisional" in fields else None,
        resets=tuple(fields.array("resets", 0, MAX_RESETS, lambda value, what: _text(value, what, UUID_PATTERN))),
        reset_by=tuple(
            fields.array("reset_by", 0, MAX_VENDORS, lambda value, what: _text(value, what, THUMBPRINT_PATTERN))
        ),
        tpm=_read_tpm(fields.nested("tpm")) if "tpm" in fields else None,
    )
    if len(set(state.resets)) != len(state.resets) or len(set(state.reset_by)) != len(state.reset_by):
        raise ClockStateInvalidError("the time state is malformed: it names something twice")
    return state


def _read_tpm(fields: Fields) -> TpmRecord:
    fields.only("at", "clock", "resets", "restarts")
    return TpmRecord(
        at=fields.integer("at", 0, MAX_EPOCH),
        milliseconds=fields.integer("clock", 0, MAX_INTEGER),
        reset_count=fields.integer("resets", 0, 2**32 - 1),
        restart_count=fields.integer("restarts", 0, 2**32 - 1),
    )


def _text(value: Any, what: str, pattern: str) -> str:
    return Fields({"text": value}, what, ClockStateInvalidError).text("text", 43, pattern)
