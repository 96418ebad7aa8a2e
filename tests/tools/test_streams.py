"""What commands print where: on a terminal, into a pipe that nobody reads, onto a full disk, into closed streams."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import PROGRAM, Outcome, as_process, environment
from tests.story import Story
from tests.terminal import on_terminal

# Whole processes, one after another: left out of the checks before each commit.
pytestmark = pytest.mark.slow

WITH_A_BAR_AT_ONCE = """
import sys, tools.output
tools.output.SHOW_AFTER_SECONDS = 0.0
from tools.main import main
main()
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("inspect", "FILE"), ("inspect", "missing", "--json"), ("--help",)])
def test_reader_that_goes_away_is_no_reason_to_complain(
    arguments: tuple[str, ...], unbuffered: str, story: Story
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    named = [str(story.license) if argument == "FILE" else argument for argument in arguments]
    ended = subprocess.run(
        [PROGRAM, *named],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment({"PYTHONUNBUFFERED": unbuffered}),
        check=False,
    )
    os.close(writing)
    assert ended.returncode == 1
    assert b"Traceback" not in ended.stderr
    assert b"roken" not in ended.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_onto_a_full_disk_is_said(unbuffered: str, story: Story) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [PROGRAM, "inspect", story.license],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment({"PYTHONUNBUFFERED": unbuffered}),
            check=False,
        )
    sentence, _ = Outcome(ended.returncode, "", ended.stderr.decode()).sentence_and_hints()
    assert ended.returncode == 1
    assert "no space left on device" in sentence


def test_closed_streams_do_no_harm(story: Story, tmp_path: Path) -> None:
    """Otherwise the files that are opened next would take the places of these streams, and what is printed there."""
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    done = as_process(*story.run(tmp_path / "y.npz"), prefix=closed)
    seen = as_process(*story.run(tmp_path / "same.npz"))
    assert (done.code, seen.code) == (0, 0)
    assert (tmp_path / "y.npz").read_bytes() == (tmp_path / "same.npz").read_bytes()
    no_errors = ["sh", "-c", 'exec "$@" 2>&-', "sh"]
    assert as_process("inspect", "missing", prefix=no_errors) == Outcome(1, "", "")
    assert as_process("inspect", "missing", "--json", prefix=no_errors).facts["reason"] == "file_not_found"


def test_progress_is_drawn_on_a_terminal_alone(story: Story, tmp_path: Path) -> None:
    python = (sys.executable, "-c", WITH_A_BAR_AT_ONCE)
    arguments = ("decrypt", story.locked, "--home", story.vendor, "-o")
    code, shown = on_terminal(*arguments, tmp_path / "on a terminal", command=python)
    assert code == 0
    assert "decrypting" in shown
    ended = subprocess.run([*python, *arguments, tmp_path / "elsewhere"], capture_output=True, check=True)
    assert (ended.stderr, b"decrypting" in ended.stdout) == (b"", False)


def test_quick_work_draws_no_progress(story: Story, tmp_path: Path) -> None:
    code, shown = on_terminal("decrypt", story.locked, "--home", story.vendor, "-o", tmp_path / "net.onnx")
    assert code == 0
    assert "decrypting" not in shown
