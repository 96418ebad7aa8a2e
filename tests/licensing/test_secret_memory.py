"""Secret memory: what it promises, seen from outside where that is possible."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from licensing.secret_memory import MemoryKind, SecretMemory, forget

KINDS: list[tuple[MemoryKind, ...]] = [("secret", "locked"), ("locked",), ()]


@pytest.mark.parametrize("kinds", KINDS)
def test_holds_what_is_written(kinds: tuple[MemoryKind, ...]) -> None:
    with SecretMemory(48, kinds) as memory:
        assert bytes(memory.view) == bytes(48)
        memory.view[:] = bytes(range(48))
        assert bytes(memory.view) == bytes(range(48))
        assert memory.kind in (*kinds, "ordinary")


@pytest.mark.parametrize("kinds", KINDS)
def test_closing_overwrites_for_those_who_still_look(kinds: tuple[MemoryKind, ...]) -> None:
    memory = SecretMemory(32, kinds)
    memory.view[:] = b"k" * 32
    other = memory.view[:16]
    memory.close()
    memory.close()
    assert bytes(other) == bytes(16)
    with pytest.raises(ValueError, match="released"):
        bytes(memory.view)


def test_copy_of_a_secret() -> None:
    with SecretMemory.holding(b"a secret") as memory:
        assert bytes(memory.view) == b"a secret"
        assert "a secret" not in repr(memory)


def test_forgotten_bytes_are_zero() -> None:
    secret = os.urandom(32)
    forget(secret)
    assert secret == bytes(32)


def test_bytes_that_python_shares_are_left_alone() -> None:
    forget(b"")
    forget(bytes([107]))
    assert bytes([107]) == b"k"


def test_without_rights_to_lock_memory_it_is_ordinary() -> None:
    """A user without privileges whose limit is zero gets neither kind, and no error."""
    code = (
        "import os, resource\n"
        "from licensing.secret_memory import SecretMemory\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "memory = SecretMemory(32)\n"
        "memory.view[:] = b'k' * 32\n"
        "print(memory.kind, SecretMemory(32, ('locked',)).kind)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["ordinary", "ordinary"]


@pytest.fixture
def secret_memory() -> Iterator[SecretMemory]:
    with SecretMemory(32, ("secret",)) as memory:
        if memory.kind != "secret":
            pytest.skip("this kernel has no memfd_secret")
        memory.view[:] = b"K" * 16 + b"k" * 16
        yield memory


def test_secret_pages_cannot_be_read_through_proc(secret_memory: SecretMemory) -> None:
    """The same pages that this process reads are refused through /proc/self/mem, which debuggers use, even to root."""
    line = next(line for line in Path("/proc/self/maps").read_text().splitlines() if "secretmem" in line)
    start = int(line.split("-")[0], 16)
    assert bytes(secret_memory.view) == b"K" * 16 + b"k" * 16
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        memory.seek(start)
        with pytest.raises(OSError, match="error"):
            memory.read(32)


@pytest.mark.parametrize("kinds", [("locked",)])
def test_locked_pages_are_locked(kinds: tuple[MemoryKind, ...]) -> None:
    soft, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and soft < 65536:
        pytest.skip("this process may lock no memory")
    before = locked_kilobytes()
    with SecretMemory(32, kinds) as memory:
        assert memory.kind == "locked"
        assert locked_kilobytes() > before
    assert locked_kilobytes() == before


def locked_kilobytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmLck"))
