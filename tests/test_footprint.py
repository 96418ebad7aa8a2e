"""The meter of tests/footprint.py, on processes whose memory is known."""

import subprocess
import sys

import pytest

from tests.footprint import PeakWatch

MB = 1024 * 1024
WAYS = {
    "heap": ("x = bytearray(SIZE)", 1),
    "heap, freed": ("x = bytearray(SIZE); del x", 0),
    "mapping": ("x = mmap.mmap(-1, SIZE); x[::4096] = bytes(SIZE // 4096)", 1),
    "memory file": ("write()", 1),
    "memory file, closed": ("f = write(); time.sleep(0.1); os.close(f)", 0),
    "memory file, mapped": ("x = mmap.mmap(write(), SIZE); sum(x[::4096])", 1),
    "memory file, mapped and closed": ("f = write(); x = mmap.mmap(f, SIZE); sum(x[::4096]); os.close(f)", 1),
    "two memory files": ("write(); f = write(); x = mmap.mmap(f, SIZE); sum(x[::4096]); os.close(f)", 2),
}
"""What a process does, and how many times the size it has afterwards."""

PROGRAM = f"""
import mmap, os, sys, time
SIZE = {64 * MB}

def write():
    file = os.memfd_create("x")
    for _ in range(SIZE // {MB}):
        os.write(file, bytes({MB}))
    return file

print("ready", flush=True)
sys.stdin.readline()
exec(sys.argv[1])
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("way", WAYS)
def test_peak_and_what_stays(way: str) -> None:
    code, held = WAYS[way]
    command = [sys.executable, "-c", PROGRAM, code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        with PeakWatch(process.pid) as watch:
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"
    assert (watch.after - watch.before) / (64 * MB) == pytest.approx(held, abs=0.1)
    assert (watch.peak - watch.before) / (64 * MB) == pytest.approx(max(held, 1), abs=0.1)
