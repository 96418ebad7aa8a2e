"""The start history: which hardware this home has seen at earlier starts of the system or the container.

docs/spec/license.md, section 11.1. It lies in the customer's home, authenticated with the device key. A license request
carries a summary of it, so that vendor and customer know before a license is made whether it would hold after the next
start. It decides nothing: what it says of a box is the box's own word.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from licensing.device_key import DeviceKey
from licensing.directory_lock import locked_directory
from licensing.encoding import MAX_EPOCH, b64url_encode
from licensing.errors import FileAccessError, StartHistoryInvalidError
from licensing.files import read_bounded, write_new_file
from licensing.gpus import Gpu
from licensing.hardware import Hardware
from licensing.history_summary import HistorySummary
from licensing.jwk import THUMBPRINT_PATTERN
from licensing.machine import FINGERPRINT_PATTERN
from licensing.strict_json import Fields, canonical, parse_canonical
from licensing.surroundings import Start

__all__ = [
    "SeenStart",
    "StartHistory",
    "history_path",
    "read_history",
    "record_start",
    "unverified_history",
]

HISTORY_VERSION = 1
MAX_HISTORY_BYTES = 256 * 1024
MAX_STARTS = 64
MAX_GPUS = 256
PURPOSE = "start-history"
BOOT_PATTERN = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
DIGEST_PATTERN = "[0-9a-f]{64}"


@dataclass(frozen=True)
class SeenStart:
    """One start, and the hardware that was measured in it.

    Attributes:
        seconds: when that was, in seconds since 1970.
        start: which start it was.
        machine: the machine's fingerprint.
        source: where the machine ID was read.
        gpus: the identities of the GPUs, sorted.
    """

    seconds: int
    start: Start
    machine: str
    source: str
    gpus: tuple[str, ...]

    @classmethod
    def of(cls, start: Start, hardware: Hardware, seconds: int) -> "SeenStart":
        """Returns what the history keeps of a measurement."""
        gpus = tuple(sorted(hardware.identities()))[:MAX_GPUS]
        return cls(max(0, seconds), start, hardware.machine.fingerprint, hardware.machine.source, gpus)

    def says_more_than(self, other: "SeenStart") -> bool:
        """Tells whether it differs from another one in anything but its time."""
        mine, others = ((each.start, each.machine, each.source, each.gpus) for each in (self, other))
        return mine != others


@dataclass(frozen=True)
class StartHistory:
    """The starts that a device key has seen, the oldest first.

    Attributes:
        device: the device key's thumbprint.
        starts: at most MAX_STARTS; the oldest ones go first.
    """

    device: str
    starts: tuple[SeenStart, ...]

    @classmethod
    def parse(cls, data: bytes, key: bytes) -> "StartHistory":
        """Parses and authenticates the file.

        Args:
            data: the file.
            key: as in `to_bytes`.

        Raises:
            StartHistoryInvalidError: it does not follow the specification, or was changed.
        """
        history, members, mac = _parse(data)
        if not hmac.compare_digest(mac, _mac(key, members)):
            raise StartHistoryInvalidError("the start history was damaged or edited")
        return history

    def with_start(self, seen: SeenStart) -> "StartHistory":
        """Returns the history with one more start; the same one if nothing in it is new."""
        if self.starts and not seen.says_more_than(self.starts[-1]):
            return self
        return StartHistory(self.device, (*self.starts, seen)[-MAX_STARTS:])

    def summary(self, machine: str, gpus: Sequence[Gpu], seconds: int) -> HistorySummary:
        """Summarises it for a request.

        Args:
            machine: the machine's fingerprint in the request.
            gpus: the GPUs of the request.
            seconds: the time of the request, before which the history began, whatever the clock said then.
        """
        wanted = {gpu.identity for gpu in gpus}
        return HistorySummary(
            starts=len({seen.start.identity for seen in self.starts}),
            boots=len({seen.start.boot for seen in self.starts}),
            containers=len({seen.start.container for seen in self.starts} - {None}),
            since=min(seconds, *(seen.seconds for seen in self.starts)),
            machine_kept=all(seen.machine == machine for seen in self.starts),
            gpus_kept=all(wanted <= set(seen.gpus) for seen in self.starts),
        )

    def to_bytes(self, key: bytes) -> bytes:
        """Returns the file: the history and its authentication, in canonical form; the oldest starts go if it is long.

        Args:
            key: the device key's authentication key for the purpose "start-history".
        """
        members = _history_members(self)
        data = canonical({"history": members, "mac": b64url_encode(_mac(key, members))})
        if len(data) <= MAX_HISTORY_BYTES:
            return data
        too_many = len(self.starts) * (len(data) - MAX_HISTORY_BYTES) // len(data)
        return StartHistory(self.device, self.starts[max(1, too_many) :]).to_bytes(key)


def history_path(home: Path) -> Path:
    """Returns where the start history of a customer's home lies."""
    return home / "start-history.json"


def read_history(home: Path, device_key: DeviceKey) -> StartHistory | None:
    """Reads the start history of a home; None where there is none, or only that of a device key that was replaced.

    Raises:
        StartHistoryInvalidError: it does not follow the specification, or was changed.
        FileAccessError: it cannot be read.
    """
    data = _read_file(home)
    if data is None or _parse(data)[0].device != device_key.thumbprint:
        return None
    return StartHistory.parse(data, device_key.authentication_key(PURPOSE))


def unverified_history(home: Path) -> StartHistory | None:
    """Reads the start history where no device key can verify it, as when the machine ID has changed since.

    What it says helps to explain, and is never sent to anybody. None where nothing can be read.
    """
    try:
        data = _read_file(home)
        return None if data is None else _parse(data)[0]
    except (StartHistoryInvalidError, FileAccessError):
        return None


def record_start(home: Path, device_key: DeviceKey, start: Start, hardware: Hardware, seconds: int) -> StartHistory:
    """Adds the present start to the history of a home, and returns it.

    Args:
        home: the customer's home.
        device_key: its device key, open.
        start: the present start.
        hardware: the box as measured.
        seconds: the time, in seconds since 1970.

    Raises:
        StartHistoryInvalidError: the history does not follow the specification, or was changed.
        FileAccessError, StorageError: the file system refused.
    """
    with locked_directory(home):
        before = read_history(home, device_key)
        after = (before or StartHistory(device_key.thumbprint, ())).with_start(SeenStart.of(start, hardware, seconds))
        if after != before:
            data = after.to_bytes(device_key.authentication_key(PURPOSE))
            write_new_file(history_path(home), data, mode=0o600, replace=True)
    return after


def _mac(key: bytes, members: dict[str, Any]) -> bytes:
    return hmac.digest(key, canonical(members), hashlib.sha256)


def _read_file(home: Path) -> bytes | None:
    try:
        return read_bounded(history_path(home), "start history", MAX_HISTORY_BYTES)
    except FileAccessError as cause:
        if cause.reason == "file_not_found":
            return None
        raise


def _parse(data: bytes) -> tuple[StartHistory, dict[str, Any], bytes]:
    """Returns what a file says, and what authenticates it, unverified."""
    what, error = "start history", StartHistoryInvalidError
    outer = Fields(parse_canonical(data, what, error, MAX_HISTORY_BYTES), what, error)
    outer.only("history", "mac")
    members, mac = outer.raw("history"), outer.binary("mac", 32, 32)
    fields = Fields(members, what, error)
    if fields.integer("ver") != HISTORY_VERSION:
        raise StartHistoryInvalidError("the start history has an unknown version", "install a newer weightlock")
    fields.only("ver", "device", "starts")
    starts = tuple(fields.array("starts", 1, MAX_STARTS, _read_start))
    return StartHistory(fields.text("device", 43, THUMBPRINT_PATTERN), starts), members, mac


def _read_start(value: Any, what: str) -> SeenStart:
    fields = Fields.of(value, what, StartHistoryInvalidError)
    fields.only("at", "boot", "start", "container", "machine", "source", "gpus")

    def identity(value: Any, what: str) -> str:
        return Fields({"gpu": value}, what, StartHistoryInvalidError).text("gpu")

    container = fields.text("container", 64, DIGEST_PATTERN) if "container" in fields else None
    gpus = tuple(fields.array("gpus", 0, MAX_GPUS, identity))
    if list(gpus) != sorted(set(gpus)):
        fields.fail("gpus", "sorted, each once")
    return SeenStart(
        seconds=fields.integer("at", 0, MAX_EPOCH),
        start=Start(fields.text("boot", 36, BOOT_PATTERN), fields.text("start", 64, DIGEST_PATTERN), container),
        machine=fields.text("machine", 64, FINGERPRINT_PATTERN),
        source=fields.text("source"),
        gpus=gpus,
    )


def _history_members(history: StartHistory) -> dict[str, Any]:
    return {
        "ver": HISTORY_VERSION,
        "device": history.device,
        "starts": [
            {
                "at": seen.seconds,
                "boot": seen.start.boot,
                "start": seen.start.identity,
                **({"container": seen.start.container} if seen.start.container is not None else {}),
                "machine": seen.machine,
                "source": seen.source,
                "gpus": list(seen.gpus),
            }
            for seen in history.starts
        ],
    }
