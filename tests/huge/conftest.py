"""What the tests of huge models share: whether this machine can take them, and what they measured."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.huge.models import SIZE

__all__ = ["huge_folder", "measured", "pytest_terminal_summary"]

FREE_DISK_BYTES = 3 * SIZE + 2**30
"""The plaintext, the locked model, and the plaintext again when it has been decrypted."""
FREE_MEMORY_BYTES = SIZE + 2 * 2**30
GIGA = 10**9

_lines: list[str] = []


@pytest.fixture
def huge_folder(tmp_path: Path) -> Iterator[Path]:
    """Returns an empty folder, which is gone afterwards; skips where there is too little disk or memory."""
    disk, memory = shutil.disk_usage(tmp_path).free, available_memory()
    if disk < FREE_DISK_BYTES:
        pytest.skip(
            f"takes {FREE_DISK_BYTES / GIGA:.0f} GB of disk: {disk / GIGA:.0f} are free (see pytest --basetemp)"
        )
    if memory < FREE_MEMORY_BYTES:
        pytest.skip(f"takes {FREE_MEMORY_BYTES / GIGA:.0f} GB of memory: {memory / GIGA:.0f} are free")
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture
def measured() -> list[str]:
    """Returns the lines to which a test adds what it measured."""
    return _lines


def available_memory() -> int:
    """Returns how many bytes programs could take, as the kernel estimates it."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Prints what was measured, where a test of this folder ran."""
    if _lines:
        terminalreporter.section(f"models of {SIZE / 2**30:.0f} GiB on {len(os.sched_getaffinity(0))} processors")
        for line in _lines:
            terminalreporter.line(line)
