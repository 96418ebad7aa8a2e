"""The check-up against earlier starts: whether the hardware of this box has stayed the same."""

from collections.abc import Iterator
from pathlib import Path

from licensing.device_key import DeviceKey
from licensing.encoding import from_epoch
from licensing.errors import LicensingError, MachineIdUnavailableError
from licensing.findings import Finding
from licensing.hardware import Hardware
from licensing.local_time import local_text
from licensing.machine import Machine
from licensing.start_history import SeenStart, read_history, unverified_history
from licensing.surroundings import System

__all__ = ["check_history", "machine_change"]

_IN_CONTAINER = "mount the host's /etc/machine-id into the container, read-only, and make a new request"
_ON_HOST = "find out what makes the machine ID anew, such as an image that is put back, and then make a new request"


def check_history(
    system: System,
    home: Path,
    device_key: DeviceKey | LicensingError,
    machine: Machine | MachineIdUnavailableError,
    hardware: Hardware,
) -> Iterator[Finding]:
    """Compares the hardware with that of earlier starts, where `weightlock request --prove` has kept them.

    Args:
        system: what this process runs in.
        home: the customer's home.
        device_key: as it was opened, or why it could not be.
        machine: as measured, or why it could not be.
        hardware: the GPUs as measured.
    """
    history = read_history(home, device_key) if isinstance(device_key, DeviceKey) else unverified_history(home)
    if history is None and system.container() is not None:
        yield Finding(
            "machine",
            "note",
            "history_missing",
            "nothing is known of earlier starts of this container",
            "whether its hardware stays the same from one start to the next shows only by comparing them",
            "'weightlock request --prove -o REQUEST', at two starts or more, before the vendor makes a license",
        )
    if history is None or isinstance(machine, MachineIdUnavailableError):
        return
    changed = machine_change(home, machine, system)
    if changed is not None:
        found, mend = changed
        why = "licenses are bound to the machine ID: those for the former one do not unlock"
        yield Finding("machine", "problem", "machine_changed", found, why, mend)
    lost = _lost_gpus(history.starts, hardware)
    if lost:
        seen, gone = lost
        yield Finding(
            "gpus",
            "warning",
            "gpus_changed",
            f"at {local_text(from_epoch(seen.seconds))} there were GPUs that are not here now: {', '.join(gone[:3])}",
            "a license for one of them does not unlock",
            "after a board was replaced, make a new request; in a container, give it the same GPUs at every start",
        )
    if changed is None and not lost:
        starts = len({seen.start.identity for seen in history.starts})
        since = local_text(from_epoch(min(seen.seconds for seen in history.starts)))
        times = f"at {starts} starts since" if starts > 1 else "since the one start that is known,"
        yield Finding("machine", "ok", "history", f"the hardware has stayed the same {times} {since}")


def machine_change(home: Path, machine: Machine, system: System) -> tuple[str, str] | None:
    """Returns what has happened to the machine ID since an earlier start, and what to do; None if it has stayed.

    The history is read without verifying it: where the ID changed, the device key that could do so does not open.
    """
    history = unverified_history(home)
    others = [seen for seen in history.starts if seen.machine != machine.fingerprint] if history else []
    if not others:
        return None
    when, source = local_text(from_epoch(others[-1].seconds)), others[-1].source
    if system.container():
        return (
            f"the machine ID changed between two starts of this container: it was another one at {when}",
            _IN_CONTAINER,
        )
    moved = "" if source == machine.source else f"; it came from {source} then, and comes from {machine.source} now"
    return f"the machine ID changed between two starts of this system: it was another one at {when}{moved}", _ON_HOST


def _lost_gpus(starts: tuple[SeenStart, ...], hardware: Hardware) -> tuple[SeenStart, list[str]] | None:
    present = set(hardware.identities())
    for seen in reversed(starts):
        gone = [identity for identity in seen.gpus if identity not in present]
        if gone:
            return seen, gone
    return None
