"""Killed or interrupted at any moment, encrypting and issuing leave nothing or the whole result, and never a mess.

Each test runs a command again and again, stopped at the first, the second, … of its calls to one system function,
until it survives. SIGKILL comes before the call does anything, so that every state in between is seen.
"""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import Outcome
from tests.strace import stopped, tampered
from tests.vendor_desk import Desk, write_model

pytestmark = pytest.mark.slow

# With pwrite64 the segments are written, and SQLite's journal and database; unlink removes the journal.
ENCRYPT_CALLS = ["pwrite64", "fsync", "fdatasync", "unlink", "linkat"]
ISSUE_CALLS = [*ENCRYPT_CALLS, "write"]


@pytest.mark.parametrize("call", ENCRYPT_CALLS)
def test_killed_encryption_leaves_nothing_or_all(call: str, desk: Desk, tmp_path: Path) -> None:
    original = desk.model.read_bytes()
    for output, outcome in stopped("signal=SIGKILL", call, desk.encrypt, tmp_path):
        check_nothing_or_all(output, outcome, desk.check_locked)
        desk.check_registry()
        desk.check_works(output.parent)
    assert desk.model.read_bytes() == original
    desk.check_locked(desk.locked)


@pytest.mark.parametrize("call", ISSUE_CALLS)
def test_killed_issuing_leaves_nothing_or_all(call: str, desk: Desk, tmp_path: Path) -> None:
    originals = desk.request.read_bytes(), desk.locked.read_bytes()
    for output, outcome in stopped("signal=SIGKILL", call, desk.issue, tmp_path):
        check_nothing_or_all(output, outcome, desk.check_license)
        desk.check_registry()
        desk.check_works(output.parent)
    assert (desk.request.read_bytes(), desk.locked.read_bytes()) == originals


def check_nothing_or_all(output: Path, outcome: Outcome, check: Callable[[Path], None]) -> None:
    assert outcome.code in (0, -signal.SIGKILL), outcome
    assert os.listdir(output.parent) in ([], [output.name])
    assert output.exists() or outcome.code != 0
    if output.exists():
        check(output)


@pytest.mark.parametrize(("size", "when"), [(40_000_000, 1), (40_000_000, 2), (90_000_000, 2), (90_000_000, 5)])
def test_killed_encryption_on_several_threads_leaves_nothing(size: int, when: int, desk: Desk, tmp_path: Path) -> None:
    """The larger model is written past the page cache."""
    write_model(desk.model, size)
    outcome = tampered("signal=SIGKILL", "pwrite64", when, *desk.encrypt(tmp_path / "net.locked", "--threads", "4"))
    assert outcome.code == -signal.SIGKILL
    assert os.listdir(tmp_path) == ["desk"]
    assert desk.records() == (1, 0)


@pytest.mark.parametrize("call", ["linkat", "rename"])
def test_killed_replacing_keeps_the_old_model_or_has_the_new(call: str, desk: Desk, tmp_path: Path) -> None:
    """Replacing goes by a temporary name: a process that is killed right between leaves it, with the whole model."""

    def replace(output: Path) -> tuple[str | Path, ...]:
        shutil.copy(desk.locked, output)
        return desk.encrypt(output, "--force")

    for output, outcome in stopped("signal=SIGKILL", call, replace, tmp_path):
        strays = [name for name in os.listdir(output.parent) if name != output.name]
        assert len(strays) == (call == "rename" and outcome.code != 0), outcome
        for name in ("output", *strays):
            desk.check_locked(output.parent / name)
        desk.check_registry()


@pytest.mark.parametrize("call", ["pwrite64", "fsync", "fdatasync"])
def test_interrupted_encryption_says_so_and_leaves_nothing(call: str, desk: Desk, tmp_path: Path) -> None:
    for output, outcome in stopped("signal=SIGINT", call, desk.encrypt, tmp_path):
        if outcome.code != 0:
            assert (outcome.code, outcome.stdout, outcome.stderr) == (1, "", "weightlock: interrupted\n")
            assert os.listdir(output.parent) == []
            assert desk.records() == (1, 0)
            desk.check_registry()


def test_interrupt_that_comes_too_late_keeps_the_model_and_its_key(desk: Desk, tmp_path: Path) -> None:
    outcome = tampered("signal=SIGINT", "linkat", 1, *desk.encrypt(tmp_path / "net.locked"))
    assert (outcome.code, outcome.stderr) == (1, "weightlock: interrupted\n")
    desk.check_locked(tmp_path / "net.locked")
