"""`weightlock bench` ended early, by Ctrl-C or by whoever ends processes: nothing of it stays, on disk or running."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import PROGRAM, environment

pytestmark = pytest.mark.slow

DEADLINE_SECONDS = 60

MOMENTS: dict[str, Callable[[Path], bool]] = {
    "as soon as there is a folder": lambda folder: any(folder.glob("weightlock-bench-*")),
    "when a model is made": lambda folder: any(folder.rglob("weights.bin")),
    "in the rounds": lambda folder: any(folder.rglob("copied.tmp")),
}


def processes_in(folder: Path) -> list[int]:
    """Returns the processes that run in a folder, or in one below it."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if str(link.readlink()).startswith(str(folder)):
                found.append(int(link.parent.name))
        except OSError:
            pass  # It ended meanwhile, or is another user's.
    return found


@pytest.mark.parametrize(
    ("number", "moment"), [*((signal.SIGINT, moment) for moment in MOMENTS), (signal.SIGTERM, "when a model is made")]
)
def test_nothing_stays(number: int, moment: str, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    process = subprocess.Popen(
        [PROGRAM, "bench", "--size", "64MiB", "--types", "onnx", "--repeat", "1000"],
        env=environment({"TMPDIR": str(folder)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not MOMENTS[moment](folder) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, stdout, stderr) == (1, "", "weightlock: interrupted\n")
    assert list(folder.iterdir()) == []
    assert processes_in(folder) == []
