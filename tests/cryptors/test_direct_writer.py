"""Direct writes: the same file in the end, whatever the file system thinks of them."""

import errno
import itertools
import mmap
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptors.direct_writer import BLOCK_BYTES, DirectWriter

FILE_BYTES = 20 * BLOCK_BYTES + 4321


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def parts(seed: int) -> list[tuple[int, int]]:
    """Cuts the file into parts, each with its beginning and its end, in a random order."""
    numbers = random.Random(seed)
    cuts = sorted({0, FILE_BYTES, BLOCK_BYTES, *(numbers.randrange(FILE_BYTES) for _ in range(9))})
    found = list(itertools.pairwise(cuts))
    numbers.shuffle(found)
    return found


def check(descriptor: int, direct: bool = True, seed: int = 0) -> None:
    """Writes the parts of a file and reads it back."""
    content = random.Random(seed).randbytes(FILE_BYTES)
    writer = DirectWriter(descriptor, direct)
    memory = memoryview(mmap.mmap(-1, FILE_BYTES + BLOCK_BYTES))
    for start, end in parts(seed):
        part = memory[start % BLOCK_BYTES :][: end - start]
        part[:] = content[start:end]
        writer.write(part, start)
    writer.finish()
    writer.close()
    assert os.pread(descriptor, FILE_BYTES + 1, 0) == content


def refuse(*arguments: object) -> int:
    raise OSError(errno.EINVAL, "invalid argument")


class DirectWrites:
    """Stands in for `os.pwrite` and does to the direct writes what a test wants.

    Attributes:
        count: how many there were.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, longest: int = FILE_BYTES, error: int = 0) -> None:
        self._pwrite, self._open = os.pwrite, os.open
        self._descriptors: set[int] = set()
        self._longest = longest
        self._error = error
        self.count = 0
        monkeypatch.setattr(os, "pwrite", self._write)
        monkeypatch.setattr(os, "open", self._open_for_us)

    def _open_for_us(self, path: str, flags: int, *others: int) -> int:
        """Leaves the flag out, so that the test does the same on every file system."""
        descriptor = self._open(path, flags & ~os.O_DIRECT, *others)
        if flags & os.O_DIRECT:
            self._descriptors.add(descriptor)
        return descriptor

    def _write(self, descriptor: int, data: memoryview, position: int) -> int:
        if descriptor not in self._descriptors:
            return self._pwrite(descriptor, data, position)
        self.count += 1
        assert len(data) % BLOCK_BYTES == position % BLOCK_BYTES == 0
        if self._error:
            raise OSError(self._error, os.strerror(self._error))
        return self._pwrite(descriptor, data[: self._longest], position)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_parts_in_any_order(descriptor: int, direct: bool, seed: int) -> None:
    check(descriptor, direct, seed)


def test_whole_blocks_are_written_directly(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = DirectWrites(monkeypatch)
    check(descriptor)
    assert writes.count > 3
    before = writes.count
    check(descriptor, direct=False)
    assert writes.count == before


def test_file_system_that_does_not_open_for_direct_writes(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", refuse)
    check(descriptor)


def test_file_system_that_refuses_the_first_direct_write(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = DirectWrites(monkeypatch, error=errno.EINVAL)
    check(descriptor)
    assert writes.count == 1


@pytest.mark.parametrize("longest", [BLOCK_BYTES, BLOCK_BYTES + 4096, 512])
def test_direct_writes_that_take_less(descriptor: int, longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = DirectWrites(monkeypatch, longest)
    check(descriptor)
    assert writes.count > 3


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_other_errors_come_out(descriptor: int, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    DirectWrites(monkeypatch, error=error)
    with pytest.raises(OSError) as caught:
        check(descriptor)
    assert caught.value.errno == error


def test_memory_that_is_not_aligned(descriptor: int) -> None:
    """Slower, not wrong."""
    content = random.Random(1).randbytes(3 * BLOCK_BYTES)
    writer = DirectWriter(descriptor, direct=True)
    writer.write(memoryview(b"x" + content)[1:], 0)
    writer.finish()
    writer.close()
    assert os.pread(descriptor, len(content) + 1, 0) == content


def test_nothing_stays_open(descriptor: int) -> None:
    before = os.listdir("/proc/self/fd")
    writer = DirectWriter(descriptor, direct=True)
    writer.close()
    writer.close()
    assert os.listdir("/proc/self/fd") == before
