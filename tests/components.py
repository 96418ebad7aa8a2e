"""Programs that tests start, and that a machine can lack."""

import shutil

import pytest

__all__ = ["need"]


def need(program: str) -> None:
    """Skips the running test where a program is missing; in CI, that fails the run (tests/no_skips.py)."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}, which scripts/install-test-packages installs")
