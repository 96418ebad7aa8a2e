"""What on this box could lock its user out later, before it happens: `weightlock doctor`."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from licensing.errors import LicensingError
from licensing.local_time import local_text
from tools.customer_commands import StatusRefusedError
from tools.options import CustomerHome, Json, Trust
from tools.output import print_facts

if TYPE_CHECKING:
    from licensing.checkup import Checkup
    from licensing.findings import Finding

__all__ = ["doctor"]

_COLUMNS = 80
_LABEL = 9
"""As wide as the longest level and a blank."""


def doctor(
    license: Annotated[
        Path | None,
        typer.Argument(help="A license file: says what in it fails here, and when it ends.", readable=False),
    ] = None,
    trust: Trust = None,
    home: CustomerHome = None,
    as_json: Json = False,
) -> None:
    """Find what on this box could lock you out of your models later, or weakens the lock, and how to mend it.

    Nothing is changed. The exit code is 0 without a problem, whatever else was found, and 3 with one.
    """
    from licensing.checkup import check_up

    checkup = check_up(license, trust=trust, home=home)
    error = _refusal(checkup)
    facts: dict[str, Any] = {
        "ok": error is None,
        "home": str(checkup.home),
        "findings": [dict(vars(finding)) for finding in checkup.findings],
    }
    if checkup.license is not None:
        facts["license_id"] = checkup.license.license_id
        facts["expires"] = checkup.license.expires.isoformat()
        facts["expires_local"] = local_text(checkup.license.expires)
    if error is not None:
        facts = {**facts, "reason": error.reason, "message": error.message, "hints": list(error.hints)}

    def sentence() -> None:
        for finding in checkup.findings:
            for line in _lines(finding):
                print(line)

    print_facts(facts, as_json, sentence)
    if error is not None:
        raise StatusRefusedError(error)


def _refusal(checkup: "Checkup") -> LicensingError | None:
    problems = checkup.count("problem")
    if not problems:
        return None
    return LicensingError(
        f"{problems} problem{'' if problems == 1 else 's'} by which licenses do not unlock here, or soon will not",
        "each problem above says how to mend it",
        reason="lockout_predicted",
    )


def _lines(finding: "Finding") -> Iterator[str]:
    """Gives the lines of a finding; a long word, such as a path, is not broken."""
    indent = " " * _LABEL

    def wrapped(text: str, first: str, others: str) -> list[str]:
        return textwrap.wrap(
            text,
            _COLUMNS,
            initial_indent=first,
            subsequent_indent=others,
            break_long_words=False,
            break_on_hyphens=False,
        )

    yield from wrapped(f"{finding.subject}: {finding.found}", f"{finding.level:<{_LABEL}}", indent)
    if finding.why:
        yield from wrapped(f"why: {finding.why}", indent, f"{indent}     ")
    if finding.mend:
        yield from wrapped(f"do: {finding.mend}", indent, f"{indent}    ")
