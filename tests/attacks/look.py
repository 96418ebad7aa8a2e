"""Looks into a process: run as a program of its own, with no more than the standard library.

As the same user, `look.py CORES PROGRAM …`: starts the program, which says "ready" and waits, tries all that this user
can do to it, and then lets it crash. As root, `look.py --as-root PID NEEDLES`: searches its memory.
"""

import ctypes
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__: list[str] = []

PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def mappings(pid: int) -> Iterator[tuple[int, int, str, set[str]]]:
    """Yields beginning, end, permissions and flags of each mapping (proc_pid_smaps(5)); "lo": it is never swapped."""
    head: tuple[int, int, str] | None = None
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ", line)
        if found:
            head = (int(found[1], 16), int(found[2], 16), found[3])
        elif line.startswith("VmFlags:") and head is not None:
            yield (*head, set(line.split()[1:]))


def contents(pid: int) -> Iterator[tuple[bytes, set[str]]]:
    """Yields the content and the flags of each mapping that can be read and is not only a file's."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end, permissions, flags in mappings(pid):
            if permissions.startswith("rw") or (permissions.startswith("r") and permissions.endswith("s")):
                try:
                    memory.seek(begin)
                    yield memory.read(end - begin), flags
                except OSError:
                    continue


def answer(found: bool) -> str:
    return "found" if found else "not found"


def memory(pid: int, needle: bytes) -> str:
    try:
        return answer(any(needle in content for content, _ in contents(pid)))
    except PermissionError:
        return "denied"


def entries(pid: int, needle: bytes) -> str:
    """Tries what /proc shows of a process beside its memory: its environment, its mappings, its open files."""
    refused = 0
    for name in ("environ", "maps", "auxv"):
        try:
            Path(f"/proc/{pid}/{name}").read_bytes()
        except PermissionError:
            refused += 1
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except PermissionError:
        descriptors = []
        refused += 1
    for descriptor in descriptors:
        try:
            if os.path.isfile(path := f"/proc/{pid}/fd/{descriptor}") and needle in Path(path).read_bytes():
                return "found"
        except PermissionError:
            refused += 1
        except OSError:
            continue
    return "denied" if refused >= 3 else "found"


def debugger(pid: int) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, pid, None, None) != 0:
        return "denied"
    os.waitpid(pid, 0)
    libc.ptrace(PTRACE_DETACH, pid, None, None)
    return "found"


def core(process: "subprocess.Popen[str]", cores: Path, needle: bytes) -> str:
    """Lets the process crash, and looks for the core dump, or takes one with gdb where the kernel keeps dumps away."""
    by_kernel = not {"|", "/"} & set(Path("/proc/sys/kernel/core_pattern").read_text())
    if not by_kernel and shutil.which("gcore"):
        subprocess.run(["gcore", "-o", cores / "core", str(process.pid)], capture_output=True, check=False)
    process.send_signal(signal.SIGABRT)
    process.communicate()
    dumps = [path.read_bytes() for folder in (cores, Path.cwd()) for path in folder.glob("core*")]
    for path in Path.cwd().glob("core*"):
        path.unlink()
    return answer(any(needle in dump for dump in dumps)) if dumps else "denied"


def as_same_user(cores: Path, program: list[str]) -> None:
    needle = bytes.fromhex(sys.stdin.readline()) * 2
    limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    sys.stdin.readline()
    ready = process.stdout.readline()
    assert ready == "ready\n", ready
    pid = process.pid
    found = {"memory": memory(pid, needle), "entries": entries(pid, needle), "debugger": debugger(pid)}
    print(json.dumps({"pid": pid, **found}), flush=True)
    sys.stdin.readline()
    print(json.dumps({"core": core(process, cores, needle)}), flush=True)


def as_root(pid: int, needles: dict[str, str]) -> None:
    weights, key = bytes.fromhex(needles["weights"]), bytes.fromhex(needles["key"])
    found = {"weights": False, "swappable": False, "key": False}
    for content, flags in contents(pid):
        found["weights"] |= weights in content
        found["swappable"] |= weights in content and "lo" not in flags
        found["key"] |= key in content
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "--as-root":
        as_root(int(sys.argv[2]), json.loads(sys.argv[3]))
    else:
        as_same_user(Path(sys.argv[1]), sys.argv[2:])
