"""Importing a framework on first use, with an error that says what to install."""

import importlib
from typing import Any

from cryptors.errors import FrameworkMissingError
from cryptors.framework_conflicts import check_conflicts

__all__ = ["first_line", "import_framework"]


def import_framework(module: str, extra: str) -> Any:
    """Returns a framework's module.

    Args:
        module: what to import.
        extra: the extra of this distribution that installs it.

    Raises:
        FrameworkMissingError: it is not installed, or does not import.
        FrameworkConflictError: it would crash this process.
    """
    check_conflicts(module)
    install = f"install it with: pip install 'weightlock[{extra}]'"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as cause:
        missing = (cause.name or module).partition(".")[0]
        raise FrameworkMissingError(f"this model needs {missing}, which is not installed", install) from cause
    except Exception as cause:  # A broken installation can raise anything, from OSError to AttributeError.
        raise FrameworkMissingError(f"{module} is installed, but does not import: {cause}", install) from cause


def first_line(cause: Exception) -> str:
    """Returns what a framework's error says, as far as it fits into a sentence of ours."""
    lines = str(cause).strip().splitlines()
    return lines[0][:200].rstrip(" .!") if lines else type(cause).__name__
