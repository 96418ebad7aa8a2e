"""harden(): what another process of the same user can do before and after. Each in a process of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TARGET = """
import ctypes, os, sys
import licensing
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # Changing the user made it undumpable; an ordinary process is dumpable.
secret = bytearray(b"the needle " + sys.argv[1].encode())
if sys.argv[2] == "harden":
    print(licensing.harden(), flush=True)
else:
    print("as it is", flush=True)
sys.stdin.readline()
"""

READER = """
import os, sys
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
pid, needle = sys.argv[1], b"the needle " + sys.argv[2].encode()
try:
    lines = open(f"/proc/{pid}/maps").read().splitlines()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in lines:
            if " rw" in line:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                memory.seek(start)
                try:
                    if needle in memory.read(end - start):
                        print("found")
                        break
                except OSError:
                    pass
        else:
            print("not found")
except PermissionError:
    print("refused")
"""


@pytest.fixture
def ptrace_is_free() -> None:
    """Yama can forbid what the control test does, and then it shows nothing."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if scope.exists() and scope.read_text().strip() != "0":
        pytest.skip("this kernel forbids tracing anyway")


@pytest.mark.parametrize(("mode", "result"), [("control", "found"), ("harden", "refused")])
@pytest.mark.usefixtures("ptrace_is_free")
def test_same_user_reads_the_memory(mode: str, result: str) -> None:
    needle = os.urandom(8).hex()
    target = [sys.executable, "-c", textwrap.dedent(TARGET), needle, mode]
    with subprocess.Popen(target, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        reader = [sys.executable, "-c", READER, str(process.pid), needle]
        found = subprocess.run(reader, capture_output=True, text=True, check=True).stdout.strip()
        process.communicate("\n")
    assert said
    assert found == result


def test_what_holds_is_reported() -> None:
    code = "import licensing; a = licensing.harden(); print(a.undumpable, a.no_core_dumps, a.key_memory)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    undumpable, no_core_dumps, kind = result.stdout.split()
    assert (undumpable, no_core_dumps) == ("True", "True")
    assert kind in ("secret", "locked", "ordinary")


def test_memory_files_still_open_by_their_paths() -> None:
    """Frameworks that take paths get /proc/self/fd/N: the process itself keeps its access."""
    code = textwrap.dedent("""
        import os
        import licensing
        if os.geteuid() == 0:
            os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
        assert licensing.harden().undumpable
        descriptor = os.memfd_create("plaintext")
        os.write(descriptor, b"model")
        print(open(f"/proc/self/fd/{descriptor}").read())
    """)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "model"
