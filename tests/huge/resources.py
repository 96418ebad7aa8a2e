"""Whether this machine has the disk and the memory that huge models take."""

import shutil
from pathlib import Path

import pytest

__all__ = ["need_disk", "need_memory"]

GIGA = 10**9


def need_disk(folder: Path, needed: int) -> None:
    """Skips the test where a folder's disk has fewer free bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        pytest.skip(f"takes {needed / GIGA:.0f} GB of disk, and {free / GIGA:.0f} are free: see pytest's --basetemp")


def need_memory(needed: int) -> None:
    """Skips the test where programs could take fewer bytes of memory, as the kernel estimates it."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    if free < needed:
        pytest.skip(f"takes {needed / GIGA:.0f} GB of memory, and {free / GIGA:.0f} are free")
