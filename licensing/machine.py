"""The machine ID: read as py-machineid reads it, accepted only from a stable source.

docs/spec/license.md, section 7. The raw ID never leaves the box, as machine-id(5) asks: what a license request
carries is a keyed hash of it, and the device key's file is encrypted under another.
"""

import contextlib
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from licensing.errors import MachineIdUnavailableError

__all__ = ["FINGERPRINT_PATTERN", "Machine", "read_machine"]

FINGERPRINT_PATTERN = "[0-9a-f]{64}"

STABLE_SOURCES = ("/var/lib/dbus/machine-id", "/etc/machine-id")
"""Where py-machineid looks first on Linux. Its other sources, container IDs, change on every run."""

_HINTS = (
    "on a system without one, 'systemd-machine-id-setup' makes /etc/machine-id",
    "in a container, mount the host's /etc/machine-id read-only",
)


@dataclass(frozen=True)
class Machine:
    """One machine, as measured.

    Attributes:
        machine_id: 32 lower-case hexadecimal digits; identifies the installation, and is not shown.
        source: where it was read.
    """

    machine_id: str = field(repr=False)
    source: str

    @property
    def fingerprint(self) -> str:
        """What requests and licenses call this machine: HMAC-SHA256 keyed by the machine ID, in hexadecimal."""
        return self.derive("fingerprint").hex()

    def derive(self, purpose: str) -> bytes:
        """Returns 32 bytes for one purpose; those of one purpose tell nothing about those of another."""
        return hmac.digest(self.machine_id.encode(), f"weightlock/1/machine/{purpose}".encode(), hashlib.sha256)


def _probe_machine_id() -> str:
    """Reads what py-machineid reads first on Linux, and asks it where that says nothing: importing it takes long."""
    for source in STABLE_SOURCES:
        with contextlib.suppress(OSError):
            if machine_id := Path(source).read_text(encoding="ascii").strip():
                return machine_id
    import machineid

    return str(machineid.id())


def read_machine(probe: Callable[[], str] = _probe_machine_id, sources: tuple[str, ...] = STABLE_SOURCES) -> Machine:
    """Measures the machine ID.

    Args:
        probe: returns the raw ID; by default py-machineid.
        sources: the files of which one must hold that ID.

    Raises:
        MachineIdUnavailableError: there is none, it is not 32 hexadecimal digits, it is all zeros, or it comes from
            a source that changes between runs.
    """
    try:
        machine_id = probe()
    except Exception as cause:
        raise MachineIdUnavailableError("this system has no machine ID", *_HINTS) from cause
    if not re.fullmatch("[0-9a-f]{32}", machine_id, re.ASCII) or machine_id == "0" * 32:
        raise MachineIdUnavailableError("the machine ID of this system is not 32 hexadecimal digits", *_HINTS)
    for source in sources:
        try:
            if Path(source).read_text(encoding="ascii").strip() == machine_id:
                return Machine(machine_id, source)
        except (OSError, UnicodeDecodeError):
            continue
    raise MachineIdUnavailableError("the machine ID comes from a source that changes between runs", *_HINTS)
