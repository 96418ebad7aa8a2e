"""Programs that tests start and modules that they import, and that a machine can lack."""

import importlib.util
import shutil

import pytest

__all__ = ["need", "need_module"]


def need(program: str) -> None:
    """Skips the running test where a program is missing; in CI, that fails the run (tests/no_skips.py)."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}, which scripts/install-test-packages installs")


def need_module(name: str) -> None:
    """The same for a module that the Makefile does not find a way to install everywhere."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs the module {name}, which was not built here")
