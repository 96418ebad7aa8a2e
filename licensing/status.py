"""Every check of a license, each with its own answer: what holds, what fails, how long it lasts, which tier.

Unlocking stops at the first refusal; a person who asks for the status wants to know all of them at once.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from licensing import unlock
from licensing.clock_check import ClockFinding, check_clock
from licensing.clock_witnesses import Clock, SystemClock
from licensing.device_key import DeviceKey
from licensing.errors import GrantInvalidError, LicensingError
from licensing.hardware import Hardware, read_hardware
from licensing.homes import customer_home, trust_path
from licensing.license import License, LicenseFile
from licensing.local_time import local_text, remaining_text
from licensing.unlock import MatchedSlot
from licensing.validity import WARNING_DAYS, validity_warning

__all__ = ["WARNING_DAYS", "Check", "StatusReport", "examine"]

StrPath = str | os.PathLike[str]
T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what was checked, such as "signature".
        sentence: the answer, for people.
        error: why it failed; None where it holds.
        warning: whether it holds, and needs attention soon.
    """

    name: str
    sentence: str
    error: LicensingError | None = None
    warning: bool = False


@dataclass(frozen=True)
class StatusReport:
    """All checks in the order of unlocking, and the license's claims where its signature verifies."""

    checks: tuple[Check, ...]
    license: License | None

    @property
    def error(self) -> LicensingError | None:
        """The refusal that unlocking would give; None if it would succeed for every model of the license."""
        return next((check.error for check in self.checks if check.error is not None), None)


class _Examination:
    """Runs checks and keeps their answers."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def run(self, name: str, step: Callable[[], T], sentence: Callable[[T], str]) -> T | None:
        try:
            result = step()
        except LicensingError as error:
            self.checks.append(Check(name, error.message, error))
            return None
        self.checks.append(Check(name, sentence(result)))
        return result


def examine(
    license: StrPath,
    *,
    trust: StrPath | None = None,
    home: StrPath | None = None,
    hardware: Hardware | None = None,
    now: datetime | None = None,
    clock: Clock | None = None,
    device: str | None = None,
) -> StatusReport:
    """Runs every step of `unlock` that can be run, for all models of a license; arguments as there.

    Nothing is written: the time of an examination is not recorded.

    Raises:
        FileAccessError, LicenseMalformedError: there is no license that could be examined.
    """
    home_path, clock = customer_home(home), clock or SystemClock()
    moment = now or clock.now()
    file = unlock.step_1_read_file(license)
    examination = _Examination()

    def verify() -> None:
        unlock.step_3_verify_signature(file, unlock.step_2_find_vendor_key(file, trust_path(trust, home_path)))

    examination.run("signature", verify, lambda _: "made by a vendor whom the trust file names")
    if examination.checks[-1].error is not None:
        return StatusReport(tuple(examination.checks), None)
    claims = examination.run("claims", lambda: unlock.step_4_read_claims(file), _claims_sentence)
    if claims is None:
        return StatusReport(tuple(examination.checks), None)
    _examine_validity(examination, claims, moment)
    measured = hardware or examination.run("machine id", read_hardware, lambda box: f"from {box.machine.source}")
    if measured is not None:
        device_key = _examine_box(examination, file, claims, home_path, measured, device)
        if device_key is not None and now is None:
            _examine_clock(examination, file, claims, device_key, home_path, moment, clock)
    return StatusReport(tuple(examination.checks), claims)


def _examine_validity(examination: _Examination, claims: License, now: datetime) -> None:
    def sentence(_: None) -> str:
        return f"until {local_text(claims.expires)}, {remaining_text(claims.expires - now)} from now"

    examination.run("validity", lambda: unlock.step_5_check_validity(claims, now), sentence)
    check = examination.checks[-1]
    if check.error is None and (warning := validity_warning(claims, now)) is not None:
        sentence_of_end = check.sentence if now < claims.expires else warning
        examination.checks[-1] = Check(check.name, sentence_of_end, warning=True)


def _examine_clock(
    examination: _Examination,
    file: LicenseFile,
    claims: License,
    device_key: DeviceKey,
    home: Path,
    now: datetime,
    clock: Clock,
) -> None:
    def sentence(finding: ClockFinding) -> str:
        if finding.provisional:
            return f"more than a day ahead of {local_text(finding.highest)}, the highest time seen; is the date right?"
        return f"not behind {local_text(finding.highest)}, the highest time seen"

    finding = examination.run(
        "clock",
        lambda: check_clock(home, device_key, claims, file.signed.kid, now, clock, record=False),
        sentence,
    )
    if finding is not None and finding.provisional:
        examination.checks[-1] = Check("clock", examination.checks[-1].sentence, warning=True)


def _examine_box(
    examination: _Examination, file: LicenseFile, claims: License, home: Path, measured: Hardware, device: str | None
) -> DeviceKey | None:
    matched = examination.run("hardware", lambda: unlock.step_7_find_slot(claims, measured, device), _slot_sentence)
    device_key = examination.run(
        "device key",
        lambda: unlock.step_8_open_device_key(claims, home, measured),
        lambda key: f"tier {key.tier}",
    )
    if matched is None or device_key is None:
        return device_key

    def derive() -> int:
        secret = unlock.step_9_unwrap_secret(claims, device_key)
        for model in claims.models:
            try:
                unlock.step_10_unwrap_content_key(file, model, matched, measured, secret)
            except GrantInvalidError as cause:
                raise GrantInvalidError(f"{cause.message}: {model.name!r}") from cause
        return len(claims.models)

    examination.run("content keys", derive, lambda count: f"{count} of {count} can be derived here")
    return device_key


def _claims_sentence(claims: License) -> str:
    return f"issued by {claims.vendor!r} to {claims.customer!r}"


def _slot_sentence(matched: MatchedSlot) -> str:
    if matched.gpu is None:
        return f"bound to the machine {matched.slot.machine_label!r} alone, to no GPU"
    return f"bound to {matched.gpu.label} in the machine {matched.slot.machine_label!r}"
