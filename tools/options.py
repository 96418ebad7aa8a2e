"""Options that several commands share."""

import os
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from cryptors.devices import gpu_index
from licensing.errors import PassphraseError, UsageError
from licensing.homes import vendor_home

__all__ = [
    "AllowPickle",
    "Architecture",
    "CustomerHome",
    "Device",
    "Force",
    "Json",
    "Threads",
    "Trust",
    "VendorHomeOption",
    "ask_passphrase",
    "check_device_name",
    "end_of_validity",
    "flag",
    "passphrase_source",
    "path_argument",
    "path_option",
    "vendor_directory",
]

PASSPHRASE_VARIABLE = "WEIGHTLOCK_PASSPHRASE"  # noqa: S105 (a name, not a secret)


def path_argument(help: str) -> Any:
    """Returns an argument that names a file or a directory.

    typer shall not look whether it can be read: reading it tells, with one answer for every command and for Python.
    """
    return typer.Argument(help=help, readable=False)


def flag(name: str, help: str) -> Any:
    """Returns an option that takes no value; typer's help would show one, as "<bool>"."""
    return typer.Option(name, metavar="", help=help)


def path_option(*names: str, help: str) -> Any:
    """Returns an option that names a file or a directory; as `path_argument`."""
    return typer.Option(*names, help=help, readable=False)


Json = Annotated[bool, flag("--json", help="Print one JSON object instead of text.")]
Force = Annotated[bool, flag("--force", help="Replace the output if it exists.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, max=256, help="How many threads work (default: one per usable processor)."),
]
VendorHomeOption = Annotated[
    Path | None,
    path_option("--home", help="The vendor's home (default: $WEIGHTLOCK_VENDOR_HOME, or a per-user directory)."),
]
CustomerHome = Annotated[
    Path | None,
    path_option("--home", help="The customer's home (default: $WEIGHTLOCK_HOME, or a per-user directory)."),
]
Trust = Annotated[
    Path | None, path_option("--trust", help="The vendor's trust file (default: trust.jwks in the home).")
]


Device = Annotated[str, typer.Option(help="cpu or cuda:N.")]
Architecture = Annotated[
    str | None,
    typer.Option(help="FILE.py:NAME or package.module:NAME, which builds the module for weights without code."),
]
AllowPickle = Annotated[
    bool, flag("--allow-pickle", help="Load whole PyTorch modules, whose pickles can run any code.")
]


def check_device_name(device: str) -> str:
    """Returns the name of a device, as `--device` takes it, or refuses it."""
    gpu_index(device)
    return device


def vendor_directory(home: Path | None) -> Path:
    """Returns the vendor's home directory."""
    return vendor_home(home)


def passphrase_source() -> Callable[[], str]:
    """Returns what gives the passphrase of a vendor's home when it is needed: the environment, or a prompt."""
    return lambda: os.environ.get(PASSPHRASE_VARIABLE) or ask_passphrase("passphrase of the vendor's home")


def ask_passphrase(prompt: str) -> str:
    """Asks on the terminal, without showing what is typed.

    Raises:
        PassphraseError: there is no terminal to ask on, or nothing was typed.
    """
    import getpass
    import sys

    text = getpass.getpass(f"{prompt}: ") if sys.stdin is not None and sys.stdin.isatty() else ""
    if not text:
        raise PassphraseError(
            "the passphrase of the vendor's home is needed",
            f"set {PASSPHRASE_VARIABLE}, or run the command on a terminal",
            reason="passphrase_required",
        )
    return text


def end_of_validity(days: int | None, until: str | None, now: datetime) -> datetime:
    """Returns the first moment at which a license no longer holds.

    Args:
        days: for how many days from now it holds; or
        until: an ISO 8601 date, whose last second in UTC still counts, or a moment with its time zone.
        now: the moment of issue.

    Raises:
        UsageError: not exactly one is given, or the text is no date.
    """
    if (days is None) == (until is None):
        raise UsageError("say how long the license lasts: either --days or --until")
    try:
        if days is not None:
            return now.replace(microsecond=0) + timedelta(days=days)
        return _moment(str(until), end_of_day=True)
    except OverflowError as cause:
        raise UsageError("the license would end after the year 9999") from cause


def beginning_of_validity(text: str | None) -> datetime | None:
    """Returns the first moment at which a license holds; a date means its first second in UTC."""
    return None if text is None else _moment(text, end_of_day=False)


def _moment(text: str, end_of_day: bool) -> datetime:
    try:
        day = date.fromisoformat(text)
        midnight = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
        return midnight + timedelta(days=1) if end_of_day else midnight
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as cause:
        raise UsageError(f"{text[:50]!r} is not a date", "write 2027-12-31, or 2027-12-31T18:00:00+01:00") from cause
    if moment.tzinfo is None:
        raise UsageError(f"{text!r} has no time zone", "write Z or an offset behind it, such as +01:00")
    return moment
