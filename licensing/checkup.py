"""The check-up of a box: what on it could lock its user out later, before it happens. `weightlock doctor`.

Each part is a module of its own, a function of what was read; this one reads, and puts them together. A part that fails
is a finding like the others: a check-up always comes to its end.
"""

import os
import resource
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from licensing.checkup_clock import check_clock_of_box, check_time_state, is_synchronised
from licensing.checkup_device_key import check_device_key
from licensing.checkup_gpus import check_gpus
from licensing.checkup_history import check_history
from licensing.checkup_license import check_license
from licensing.checkup_machine import check_machine
from licensing.checkup_process import check_process
from licensing.checkup_storage import check_storage
from licensing.clock_witnesses import Clock, SystemClock
from licensing.cuda_devices import read_cuda
from licensing.device_key import DeviceKey, open_device_key
from licensing.errors import DeviceKeyMismatchError, LicensingError, MachineIdUnavailableError
from licensing.findings import LEVELS, Finding, Level
from licensing.gpus import read_gpus
from licensing.hardware import Hardware
from licensing.homes import customer_home, state_directory
from licensing.kernel_gpus import read_kernel_gpus
from licensing.license import License
from licensing.machine import Machine, read_machine
from licensing.secret_memory import MemoryKind, SecretMemory
from licensing.status import StatusReport, examine
from licensing.surroundings import System

__all__ = ["Checkup", "check_up"]

StrPath = str | os.PathLike[str]

_NOWHERE = Machine("", "nowhere")
"""Stands for a machine without an ID, so that its GPUs are looked at all the same; nothing is derived from it."""


@dataclass(frozen=True)
class Checkup:
    """What was found, the worst first.

    Attributes:
        findings: those of one level in the order in which they were looked for.
        home: the customer's home.
        license: the claims of the license that was given, where its signature verifies.
    """

    findings: tuple[Finding, ...]
    home: Path
    license: License | None = None

    def count(self, level: Level) -> int:
        """Returns how many findings are of a level."""
        return sum(finding.level == level for finding in self.findings)


def check_up(
    license: StrPath | None = None,
    *,
    trust: StrPath | None = None,
    home: StrPath | None = None,
    system: System | None = None,
    hardware: Hardware | None = None,
    clock: Clock | None = None,
) -> Checkup:
    """Checks this box. Nothing is written.

    Args:
        license: a license file, of which is told what in it fails, and when it ends.
        trust: the trust file; by default `trust.jwks` in the home.
        home: the customer's home; by default `WEIGHTLOCK_HOME` or a per-user directory.
        system: what this process runs in; by default, the system.
        hardware: the box as measured; by default it is measured now.
        clock: by default the system's.
    """
    system, clock = system or System(environment=os.environ), clock or SystemClock()
    home_path, now = customer_home(home), clock.now()
    machine = _machine() if hardware is None else hardware.machine
    gpus = hardware or _gpus(machine)
    device_key = _device_key(home_path, machine)
    report: StatusReport | None = None

    def examined() -> Iterator[Finding]:
        nonlocal report
        if license is None:
            return
        known = hardware if hardware is not None else None if isinstance(machine, LicensingError) else gpus
        try:
            report = examine(license, trust=trust, home=home_path, hardware=known, clock=clock)
        except LicensingError as error:
            why = "there is no license that could be examined"
            yield Finding("license", "problem", error.reason, error.message, why, "; ".join(error.hints))
            return
        yield from check_license(report)

    opened = device_key if isinstance(device_key, DeviceKey) else None
    parts: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("license", examined),
        ("machine", lambda: check_machine(system, machine)),
        ("machine", lambda: check_history(system, home_path, device_key, machine, gpus)),
        ("gpus", lambda: check_gpus(system, gpus)),
        ("device key", lambda: check_device_key(system, home_path, device_key, os.geteuid())),
        ("storage", lambda: check_storage(system, home_path, state_directory())),
        ("clock", lambda: check_clock_of_box(system, clock, now, home_path, is_synchronised())),
        ("clock", lambda: () if opened is None else check_time_state(home_path, opened, now)),
        ("process", lambda: check_process(system, *_memory())),
    )
    findings = _without_echoes([finding for subject, part in parts for finding in _findings_of(subject, part)])
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    return Checkup(tuple(findings), home_path, None if report is None else report.license)


def _without_echoes(findings: list[Finding]) -> list[Finding]:
    """Leaves out what the license says of the machine, the device key or the clock where they say it themselves."""
    said = {finding.code for finding in findings if finding.level == "problem" and finding.subject != "license"}
    return [finding for finding in findings if finding.subject != "license" or finding.code not in said]


def _findings_of(subject: str, part: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Returns what a part finds; what stops it is a finding after those that it had already."""
    findings: list[Finding] = []
    try:
        findings.extend(part())
    except Exception as error:  # Whatever is broken on this box must not hide the rest.
        words = error.message if isinstance(error, LicensingError) else f"{type(error).__name__}: {error}"[:200]
        why = "what is wrong there may stop licenses, too"
        findings.append(Finding(subject, "warning", "not_checked", f"this could not be checked: {words}", why))
    return findings


def _machine() -> Machine | MachineIdUnavailableError:
    try:
        return read_machine()
    except MachineIdUnavailableError as error:
        return error


def _gpus(machine: Machine | MachineIdUnavailableError) -> Hardware:
    gpus = read_gpus()
    known = machine if isinstance(machine, Machine) else _NOWHERE
    return Hardware(known, gpus, read_kernel_gpus() if gpus.gpus else None, read_cuda)


def _device_key(home: Path, machine: Machine | MachineIdUnavailableError) -> DeviceKey | LicensingError:
    if isinstance(machine, MachineIdUnavailableError):
        return DeviceKeyMismatchError("the device key does not open without a machine ID", *machine.hints)
    try:
        return open_device_key(home, machine)
    except LicensingError as error:
        return error


def _memory() -> tuple[MemoryKind, int | None]:
    with SecretMemory(1) as memory:
        kind = memory.kind
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return kind, None if limit == resource.RLIM_INFINITY else limit
