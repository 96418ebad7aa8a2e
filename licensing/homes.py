"""Where the vendor's and the customer's files are, when nobody says otherwise."""

import os
from pathlib import Path

__all__ = ["customer_home", "state_directory", "trust_path", "vendor_home"]

CUSTOMER_HOME_VARIABLE = "WEIGHTLOCK_HOME"
VENDOR_HOME_VARIABLE = "WEIGHTLOCK_VENDOR_HOME"
STATE_VARIABLE = "WEIGHTLOCK_STATE"

StrPath = str | os.PathLike[str]


def customer_home(home: StrPath | None = None) -> Path:
    """Returns the customer's home: the argument, `WEIGHTLOCK_HOME`, or a per-user directory."""
    return _home(home, CUSTOMER_HOME_VARIABLE, "customer")


def vendor_home(home: StrPath | None = None) -> Path:
    """Returns the vendor's home: the argument, `WEIGHTLOCK_VENDOR_HOME`, or a per-user directory."""
    return _home(home, VENDOR_HOME_VARIABLE, "vendor")


def trust_path(trust: StrPath | None, home: Path) -> Path:
    """Returns the trust file: the argument, or `trust.jwks` in the customer's home.

    A trust file that lies beside a license is not looked at: whoever sends a license could send both.
    """
    return Path(trust) if trust is not None else home / "trust.jwks"


def state_directory() -> Path:
    """Returns where twins of the time state lie, away from the homes: `WEIGHTLOCK_STATE`, or a per-user directory.

    The latter is what platformdirs gives, and what the XDG Base Directory Specification says. Every start of a locked
    application asks for it, and importing platformdirs takes as long as the rest of unlocking.
    """
    if named := os.environ.get(STATE_VARIABLE):
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME", "").strip()
    return (Path(base) if base else Path(os.path.expanduser("~/.local/state"))) / "weightlock"


def _home(home: StrPath | None, variable: str, kind: str) -> Path:
    named = home if home is not None else os.environ.get(variable)
    if named:
        return Path(named)
    import platformdirs  # Deferred: most callers name their directory.

    return Path(platformdirs.user_data_dir("weightlock")) / kind
