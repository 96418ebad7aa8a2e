"""Witnesses of the time: what they say here, and what becomes of them where they cannot be asked."""

import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from licensing.clock_witnesses import SystemClock


def witnesses(proc: Path, *directories: Path) -> dict[str, float]:
    return {witness.name: witness.seconds for witness in SystemClock(proc).witnesses(directories)}


def test_all_witnesses_of_this_machine_agree_with_its_clock(tmp_path: Path) -> None:
    """No more than seconds apart: a day is what makes a difference."""
    found = witnesses(Path("/proc"), tmp_path)
    assert set(found) == {"system call", "new file", "boot time"}
    assert all(abs(seconds - time.time()) < 60 for seconds in found.values()), found
    assert list(tmp_path.iterdir()) == []
    assert abs((SystemClock().now() - datetime.now(timezone.utc)).total_seconds()) < 60


def test_the_first_directory_that_can_be_written_is_taken(tmp_path: Path) -> None:
    assert "new file" in witnesses(Path("/proc"), Path("/proc"), tmp_path / "nowhere", tmp_path)
    assert "new file" not in witnesses(Path("/proc"), Path("/proc"), tmp_path / "nowhere")
    assert "new file" not in witnesses(Path("/proc"))


def test_boot_time_is_the_sum_of_two_figures(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  1 2 3\nbtime 1700000000\nprocesses 5\n")
    (tmp_path / "uptime").write_text("86400.50 1.00\n")
    assert witnesses(tmp_path)["boot time"] == 1700086400.5


@pytest.mark.parametrize(
    ("stat", "uptime"),
    [
        (None, "1.0 1.0"),
        ("btime 1", None),
        ("cpu 1", "1.0 1.0"),
        ("btime x", "1.0 1.0"),
        ("btime", "1.0 1.0"),
        ("btime 1", "x"),
        ("btime 1", ""),
    ],
)
def test_figures_that_are_hidden_or_strange_say_nothing(stat: str | None, uptime: str | None, tmp_path: Path) -> None:
    for name, text in (("stat", stat), ("uptime", uptime)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert "boot time" not in witnesses(tmp_path)
