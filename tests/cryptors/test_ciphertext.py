"""The locked model's file is read completely or not at all, whatever storage does."""

import errno
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptors.ciphertext import CiphertextFile, Scratch
from cryptors.errors import ModelDamagedError
from licensing.errors import FileAccessError

CONTENT = os.urandom(50000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path / "file"


def test_any_part(path: Path) -> None:
    file = CiphertextFile(path)
    for start, length in [(0, 0), (0, 1), (1, 4096), (4095, 20000), (0, 50000), (49999, 1)]:
        target = bytearray(length)
        file.read(start, memoryview(target))
        assert target == CONTENT[start : start + length]
    file.close()
    file.close()


def test_short_reads_are_gone_on_with(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network file systems and signals cut reads short."""
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset, *flags: whole(fd, [buffers[0][:777]], offset, *flags))
    file, target = CiphertextFile(path), bytearray(30000)
    file.read(10, memoryview(target))
    file.close()
    assert target == CONTENT[10:30010]


def test_file_that_ends_too_early(path: Path) -> None:
    file = CiphertextFile(path)
    with pytest.raises(ModelDamagedError, match="shorter"):
        file.read(49999, memoryview(bytearray(2)))
    file.close()


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EAGAIN])
def test_storage_that_fails(path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "preadv", fail)
    file = CiphertextFile(path)
    with pytest.raises(FileAccessError, match=os.strerror(code).lower()) as caught:
        file.read(0, memoryview(bytearray(10)))
    assert caught.value.reason == "file_unreadable"
    assert isinstance(caught.value.__cause__, OSError)
    file.close()


def blocking(*_: object) -> int:
    raise BlockingIOError


def unsupported(*_: object) -> int:
    raise OSError(errno.EOPNOTSUPP, "not supported")


@pytest.mark.parametrize("answer", [blocking, unsupported, lambda *_: 0])
def test_what_is_not_in_memory_or_cannot_be_told_is_not_cached(
    path: Path, answer: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = CiphertextFile(path)
    monkeypatch.setattr(os, "preadv", answer)
    assert not file.is_cached(0)
    file.close()


def test_what_was_just_written_is_cached(path: Path) -> None:
    file = CiphertextFile(path)
    assert file.is_cached(0)
    assert file.is_cached(len(CONTENT) - 1)
    assert not file.is_cached(len(CONTENT)), "nothing is there"
    file.close()


def test_closed_file_is_not_read(path: Path) -> None:
    """Its descriptor's number may belong to another file by now."""
    file = CiphertextFile(path)
    file.close()
    with pytest.raises(FileAccessError):
        file.read(0, memoryview(bytearray(1)))
    assert not file.is_cached(0)


@pytest.mark.parametrize("position", [0, 1, 16, 4095, 4096, 123456789])
def test_scratch_lies_as_the_file_does(position: int) -> None:
    size = 1024 * 1024
    scratch = Scratch(size)
    part = scratch.at(position, size)
    assert len(part) == size
    part[0], part[-1] = 7, 9
    first = scratch.at(0, size)
    assert first[position % mmap.PAGESIZE] == 7
