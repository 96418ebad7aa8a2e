"""What the tests of huge models share: a folder that does not stay behind, and what they measured."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.huge.models import SIZE

__all__ = ["huge_folder", "measured", "pytest_terminal_summary"]

_lines: list[str] = []


@pytest.fixture
def huge_folder(tmp_path: Path) -> Iterator[Path]:
    """Returns an empty folder, which is gone afterwards."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture
def measured() -> list[str]:
    """Returns the lines to which a test adds what it measured."""
    return _lines


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Prints what was measured, where a test of this folder ran."""
    if _lines:
        terminalreporter.section(f"models of {SIZE / 2**30:.0f} GiB on {len(os.sched_getaffinity(0))} processors")
        for line in _lines:
            terminalreporter.line(line)
