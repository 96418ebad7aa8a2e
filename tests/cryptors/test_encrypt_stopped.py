"""Encrypting in a process that is interrupted from the keyboard or may have no more memory: nothing is left of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command_line import ROOT, environment
from tests.vendor_desk import Desk

SIZE = 1024 * 1024 * 1024
HANG_SECONDS = 120

COMMAND = """
import signal, sys
from tools.main import main

# What a shell starts in the background ignores Ctrl-C, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def write_large(model: Path) -> None:
    """Writes one tensor of zeros in safetensors, which takes no place on the disk."""
    tensor = {"dtype": "U8", "shape": [SIZE], "data_offsets": [0, SIZE]}
    header = json.dumps({"w": tensor}).encode()
    model.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(model, 8 + len(header) + SIZE)


def bytes_read(process: subprocess.Popen[str]) -> int:
    """Returns how much a process has read by system calls."""
    lines = Path(f"/proc/{process.pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.03, 0.3, 0.6])
def test_interrupt_from_the_keyboard(desk: Desk, tmp_path: Path, part: float) -> None:
    write_large(desk.model)
    output = tmp_path / "out"
    output.mkdir()
    arguments = [str(argument) for argument in desk.encrypt(output / "net.locked")]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and bytes_read(process) < part * SIZE:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, *printed) == (1, "", "weightlock: interrupted\n")
    assert os.listdir(output) == []
    assert desk.records() == (1, 0)
    desk.check_registry()


LIMITED = """
import resource, sys, threading
from pathlib import Path
from cryptors.errors import MemoryUnavailableError
from cryptors.source import ModelSource
from cryptors.writer import EncryptOptions, write_locked_model

MIB = 1024 * 1024
model, output = map(Path, sys.argv[1:])
source = ModelSource({"net.pth": model}, directory=False)
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
for spare in (1, 2, 4, 8, 12, 16, 32, 64, 1024):
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare * MIB, hard))
    try:
        write_locked_model(source, "torch", bytes(32), output / str(spare), EncryptOptions(threads=4))
        outcome = "done"
    except MemoryUnavailableError as error:
        outcome = error.reason
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    print(spare, outcome, threading.active_count())
"""


def test_limit_on_the_memory_of_the_process(tmp_path: Path) -> None:
    """With too little for one thread, for its helpers, and for the stacks of these."""
    (tmp_path / "net.pth").write_bytes(bytes(40 * 1024 * 1024))
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "net.pth"), str(tmp_path / "out")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=HANG_SECONDS)
    outcomes = {spare: outcome for spare, outcome, _ in map(str.split, ended.stdout.splitlines())}
    assert outcomes["1"] == outcomes["2"] == "out_of_memory"
    assert outcomes["1024"] == "done"
    assert set(outcomes.values()) == {"done", "out_of_memory"}
    assert {line.split()[2] for line in ended.stdout.splitlines()} == {"1"}
    assert sorted(os.listdir(tmp_path / "out")) == sorted(spare for spare in outcomes if outcomes[spare] == "done")
    assert ended.stderr == ""
