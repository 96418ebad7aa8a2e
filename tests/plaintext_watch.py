"""What a process writes, from its system calls: does the pattern of tests/patterned_models.py leave its memory?"""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.patterned_models import holds_pattern
from tests.strace import traced

__all__ = ["leaks", "opened_for_writing", "watched", "written"]

_WRITING = {"write", "pwrite64", "writev", "pwritev", "pwritev2"}
_WRITING |= {"sendto", "sendmsg", "sendmmsg", "vmsplice", "process_vm_writev"}
_MOVING = {"sendfile", "copy_file_range", "splice", "tee", "io_uring_setup", "io_submit"}
"""These move data that strace does not see. Nothing in a locked run needs them, so each of them counts as a leak."""
_OPENING = {"openat", "openat2"}

_CALLS = ",".join([*_WRITING, *_MOVING, *_OPENING, "mmap", "?open", "?creat"])


def watched(command: list[str | Path], folder: Path, **variables: str) -> list[str]:
    """Runs a command and returns its system calls.

    Args:
        command: the command and its arguments.
        folder: an empty one. Its folder `scratch` is where the command runs, its home, and its place for temporary
            files.
        **variables: more of its environment.
    """
    scratch, calls = folder / "scratch", folder / "calls"
    scratch.mkdir()
    calls.mkdir()
    return traced(_CALLS, calls, command, scratch, HOME=str(scratch), TMPDIR=str(scratch), **variables)


def leaks(lines: list[str]) -> list[str]:
    """Returns the system calls that carry the pattern, or could carry it unseen, to anything but memory."""
    return list(_leaks(lines))


def _leaks(lines: list[str]) -> Iterator[str]:
    for line in lines:
        call = line.partition("(")[0]
        shared = call == "mmap" and "MAP_SHARED" in line and "PROT_WRITE" in line and not _is_memory_file(line)
        if shared or call in _MOVING or (call in _WRITING and holds_pattern(_data(line))):
            yield _readable(line)


def written(lines: list[str]) -> bytes:
    """Returns everything that was written, in the order of the calls of each thread."""
    return b"".join(_data(line) for line in lines if line.partition("(")[0] in _WRITING)


def opened_for_writing(lines: list[str]) -> list[str]:
    """Returns the paths that were opened for writing, or made."""
    opening = {*_OPENING, "open", "creat"}
    calls = [line for line in lines if line.partition("(")[0] in opening]
    return [_data(line).decode() for line in calls if re.search("^creat|O_WRONLY|O_RDWR|O_CREAT", line)]


def _data(line: str) -> bytes:
    return b"".join(map(_bytes, re.findall(r'"((?:\\x[0-9a-f]{2})*)"', line)))


def _is_memory_file(line: str) -> bool:
    """Returns whether a call is about a memory file, memfd_create(2) or memfd_secret(2), which is in no file system."""
    found = re.search(r"\d<((?:\\x[0-9a-f]{2})*)>", line)
    return found is not None and _bytes(found[1]).startswith((b"/memfd:", b"/secretmem"))


def _bytes(hexadecimal: str) -> bytes:
    return bytes.fromhex(hexadecimal.replace("\\x", ""))


def _readable(line: str) -> str:
    """Returns a system call as people read it, without most of its data."""
    return re.sub(r"(?:\\x[0-9a-f]{2})+", lambda match: _bytes(match[0])[:100].decode("latin-1"), line)
