"""Space that is had before it is written to."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptors.disk_space import reserve_space
from tests.small_disk import SmallDisk

SIZE = 1_000_000


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def test_the_file_has_its_length_and_its_space(descriptor: int) -> None:
    reserve_space(descriptor, SIZE)
    assert os.fstat(descriptor).st_size == SIZE
    assert os.fstat(descriptor).st_blocks * 512 >= SIZE
    assert os.pread(descriptor, SIZE, 0) == bytes(SIZE)


def test_full_disk(small_disk: SmallDisk) -> None:
    descriptor = os.open(small_disk.path / "file", os.O_RDWR | os.O_CREAT)
    reserve_space(descriptor, SIZE)
    with pytest.raises(OSError) as caught:
        reserve_space(descriptor, 100 * SIZE)
    os.close(descriptor)
    assert caught.value.errno == errno.ENOSPC


def test_file_longer_than_any_can_be(descriptor: int) -> None:
    with pytest.raises(OSError) as caught:
        reserve_space(descriptor, 2**63 - 1)
    assert caught.value.errno in (errno.EFBIG, errno.ENOSPC)


def test_where_it_cannot_be_done_nothing_happens() -> None:
    """A pipe stands for the file systems that do not know the call."""
    reading, writing = os.pipe()
    reserve_space(writing, SIZE)
    os.close(reading)
    os.close(writing)
