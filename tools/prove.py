"""What `weightlock request --prove` keeps and says: whether a license would hold after the next start."""

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from licensing.checkup_history import machine_change
from licensing.device_key import DeviceKey
from licensing.encoding import from_epoch
from licensing.errors import DeviceKeyMismatchError, LicensingError
from licensing.hardware import Hardware
from licensing.history_summary import HistorySummary
from licensing.local_time import local_text
from licensing.machine import Machine
from licensing.start_history import StartHistory, record_start
from licensing.surroundings import System

__all__ = ["explained", "history_facts", "history_text", "prove"]


def prove(home: Path, device_key: DeviceKey, hardware: Hardware) -> StartHistory:
    """Adds the present start to the history of a home, and returns it.

    Raises:
        LicensingError: the system does not tell its starts apart, or the history cannot be read or written.
    """
    start = _system().start()
    if start is None:
        raise LicensingError(
            "this system does not say which of its starts this is: /proc/sys/kernel/random/boot_id is missing",
            "make the request without --prove",
            reason="start_unknown",
        )
    return record_start(home, device_key, start, hardware, int(datetime.now(timezone.utc).timestamp()))


def explained(error: DeviceKeyMismatchError, home: Path, machine: Machine) -> DeviceKeyMismatchError:
    """Returns the same refusal with what the history of the home says about it, where it says something."""
    changed = machine_change(home, machine, _system())
    if changed is None:
        return error
    found, mend = changed
    return DeviceKeyMismatchError(
        f"{found}: a license would stop working, as the device key does now", mend, *error.hints
    )


def history_text(summary: HistorySummary) -> str:
    """Returns what a history means, in one sentence."""
    since = local_text(from_epoch(summary.since))
    starts = f"{summary.starts} start{'' if summary.starts == 1 else 's'} since {since}"
    told = [_number(summary.boots, "boot"), *([_number(summary.containers, "container")] if summary.containers else [])]
    if not summary.machine_kept:
        return f"the machine ID has changed at {starts} ({', '.join(told)}): a license would stop working"
    if not summary.gpus_kept:
        return f"at {starts} ({', '.join(told)}), not all of these GPUs were there each time"
    if summary.starts == 1:
        return f"this is the first start that is known, {since}: nothing can be said yet"
    return f"the same hardware at {starts} ({', '.join(told)}): a license would have held each time"


def history_facts(summary: HistorySummary | None) -> dict[str, Any]:
    """Returns a history for `--json`; nothing where there is none."""
    return {} if summary is None else {"history": {**summary.claims(), "stable": summary.is_stable}}


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _system() -> System:
    return System(environment=os.environ)
