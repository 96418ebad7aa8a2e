"""Plaintext memory stays out of core dumps, which land on disks and in the hands of whoever collects them."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cryptors.memory import PlaintextFile, PlaintextMemory
from tests.components import need

PATTERN = bytes(range(100, 164))

FILL = """
import os, resource, sys
from cryptors.memory import PlaintextFile, PlaintextMemory
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
def fill(view):
    for start in range(0, len(view), 64):
        view[start : start + 64] = bytes(range(100, 164))
    return view
"""

HOLDERS = {
    "PlaintextMemory": "holder = PlaintextMemory(1 << 20); fill(holder.view)",
    "large PlaintextMemory": "holder = PlaintextMemory(8 << 20); fill(holder.view)",
    "PlaintextFile": "holder = PlaintextFile(1 << 20); fill(holder.view)",
    "sealed PlaintextFile": "holder = PlaintextFile(1 << 20); fill(holder.view); holder.seal()",
}
CONTROL = "holder = bytearray(1 << 20); fill(memoryview(holder))"


def core_dump(code: str, folder: Path) -> bytes:
    """Returns the core dump of a process that has run some code and is still holding what it made.

    The kernel's own is taken where it writes one into the process's folder. Where it hands dumps to another program,
    gdb makes one by the same rules.
    """
    by_kernel = not {"|", "/"} & set(Path("/proc/sys/kernel/core_pattern").read_text())
    if not by_kernel:
        need("gcore")
    end = "os.abort()" if by_kernel else "print('ready', flush=True); sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", f"{FILL}\n{code}\n{end}"],
        cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    if not by_kernel:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        subprocess.run(["gcore", "-o", folder / "core", str(process.pid)], check=True, capture_output=True)
    process.communicate()
    (core,) = folder.iterdir()
    return core.read_bytes()


@pytest.mark.parametrize("holder", HOLDERS)
def test_core_dump_holds_no_plaintext(holder: str, tmp_path: Path) -> None:
    assert core_dump(HOLDERS[holder], tmp_path).count(PATTERN * 2) == 0


def test_core_dump_holds_ordinary_memory(tmp_path: Path) -> None:
    """Without this, the test above could pass because there is nothing in the dump at all."""
    assert core_dump(CONTROL, tmp_path).count(PATTERN * 2) > 1000


@pytest.mark.parametrize("make", [PlaintextMemory, PlaintextFile])
def test_kernel_is_told_to_leave_the_memory_out(make: type[PlaintextMemory | PlaintextFile]) -> None:
    """The mapping has the flag "dd" of proc_pid_smaps(5): do not include the area in core dumps."""
    with make(1 << 20) as holder:
        first_byte = ctypes.c_char.from_buffer(holder.view)
        assert "dd" in flags_of_mapping(ctypes.addressof(first_byte))
        del first_byte
    ordinary = ctypes.create_string_buffer(1 << 20)
    assert "dd" not in flags_of_mapping(ctypes.addressof(ordinary))


def flags_of_mapping(address: int) -> list[str]:
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head, *rest = line.split()
        if "-" in head:
            first, last = (int(part, 16) for part in head.split("-"))
            inside = first <= address < last
        elif inside and head == "VmFlags:":
            return rest
    raise AssertionError("the address is not mapped")
