"""Trouble while a model is being read: a clear error, threads that have ended, memory that is wiped; and no hang."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptors.ciphertext import CiphertextFile
from cryptors.errors import MemoryUnavailableError, ModelDamagedError
from cryptors.reader import LockedModel, read_header
from cryptors.stream import SegmentCipher
from licensing.errors import FileAccessError, WeightlockError
from tests.cryptors.containers import CONTENT_KEY, write_container

SEGMENT = 1048576
WEIGHTS = os.urandom(24 * SEGMENT + 12345)

one_and_several_threads = pytest.mark.parametrize("threads", [1, 4])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_container(tmp_path_factory.mktemp("troubles") / "model.locked", {"weights": WEIGHTS})


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A locked model of its own for each test."""
    (tmp_path / "model.locked").write_bytes(original.read_bytes())
    return tmp_path / "model.locked"


def read_until(path: Path, threads: int, trouble: Callable[[], None]) -> bytearray:
    """Reads everything, and calls `trouble` when some of it has been read, and nothing from segment 20 on."""
    memory = bytearray(b"\xaa" * len(WEIGHTS))
    pending, troubled = [trouble], threading.Event()
    read, limit, main = CiphertextFile.read, place_of(path, 12), threading.current_thread()

    def progress(done: int, total: int) -> None:
        if done > 2 * SEGMENT and pending:
            try:
                pending.pop()()
            finally:
                troubled.set()

    def read_later(file: CiphertextFile, position: int, target: memoryview) -> None:
        if position >= limit and threading.current_thread() is not main:
            assert troubled.wait(30)
        read(file, position, target)

    try:
        with pytest.MonkeyPatch.context() as patch, LockedModel(path, CONTENT_KEY, threads, progress) as model:
            patch.setattr(CiphertextFile, "read", read_later)
            model.file().read_all_into(memoryview(memory))
    except BaseException:
        written = memory.rstrip(b"\xaa")
        assert written == bytes(len(written)), "wiped"
        raise
    finally:
        assert not pending, "the trouble came while there was more to read"
        assert not [thread for thread in threading.enumerate() if thread.name == "weightlock"]
    return memory


def place_of(path: Path, segment: int) -> int:
    return read_header(path).payload_offset + segment * SEGMENT


@one_and_several_threads
def test_file_that_shrinks(path: Path, threads: int) -> None:
    with pytest.raises(ModelDamagedError, match="shorter") as caught:
        read_until(path, threads, lambda: os.truncate(path, place_of(path, 21) + 5))
    assert caught.value.reason == "model_damaged"


@one_and_several_threads
def test_file_that_shrinks_to_nothing(path: Path, threads: int) -> None:
    with pytest.raises(ModelDamagedError, match="shorter"):
        read_until(path, threads, lambda: os.truncate(path, 0))


@one_and_several_threads
def test_file_that_grows(path: Path, threads: int) -> None:
    """All that is read is authentic, and nothing behind it is looked at. It is refused when it is opened again."""

    def append() -> None:
        with path.open("ab") as file:
            file.write(bytes(SEGMENT))

    assert read_until(path, threads, append) == WEIGHTS
    with pytest.raises(ModelDamagedError, match="longer"):
        LockedModel(path, CONTENT_KEY)


@one_and_several_threads
def test_file_that_is_replaced_by_another(path: Path, threads: int) -> None:
    """The open file stays what it is, as long as it is open."""

    def replace() -> None:
        (path.parent / "other").write_bytes(b"something else")
        (path.parent / "other").rename(path)

    assert read_until(path, threads, replace) == WEIGHTS


@one_and_several_threads
def test_file_that_is_deleted(path: Path, threads: int) -> None:
    assert read_until(path, threads, path.unlink) == WEIGHTS


@one_and_several_threads
def test_file_that_is_overwritten(path: Path, threads: int) -> None:
    def overwrite() -> None:
        with path.open("r+b") as file:
            file.seek(place_of(path, 20))
            file.write(os.urandom(2 * SEGMENT))

    with pytest.raises(ModelDamagedError):
        read_until(path, threads, overwrite)


@one_and_several_threads
def test_storage_that_begins_to_fail(path: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(FileAccessError, match="input/output error") as caught:
        read_until(path, threads, lambda: monkeypatch.setattr(os, "preadv", fail))
    assert caught.value.reason == "file_unreadable"


@one_and_several_threads
def test_storage_that_reads_little_at_a_time(path: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.preadv

    def little(descriptor: int, buffers: list[memoryview], offset: int, *flags: int) -> int:
        return whole(descriptor, [buffers[0][:100000]], offset, *flags)

    assert read_until(path, threads, lambda: monkeypatch.setattr(os, "preadv", little)) == WEIGHTS


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
@one_and_several_threads
def test_caller_that_gives_up(path: Path, threads: int, error: type[BaseException]) -> None:
    """What the caller's progress callback raises comes out as it is."""

    def give_up() -> None:
        raise error("enough")

    with pytest.raises(error, match="enough"):
        read_until(path, threads, give_up)


@one_and_several_threads
def test_memory_that_runs_out(path: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one of the threads, in the middle."""

    def refuse() -> None:
        monkeypatch.setattr(CiphertextFile, "take_scratch", lambda file: no_memory())

    def no_memory() -> None:
        raise MemoryUnavailableError("there is not enough memory: 1 bytes were asked for")

    with pytest.raises(WeightlockError) as caught:
        read_until(path, threads, refuse)
    assert caught.value.reason == "out_of_memory"


def test_reading_and_decrypting_overlap(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread waits for storage, another one decrypts; a read that waits in vain for that fails."""
    read, open_segment = CiphertextFile.read, SegmentCipher.open
    waiting, decrypted = threading.Event(), threading.Event()

    def slow_read(file: CiphertextFile, position: int, target: memoryview) -> None:
        if position == place_of(path, 9):
            waiting.set()
            assert decrypted.wait(30)
        read(file, position, target)

    def watched_open(cipher: SegmentCipher, segment: object, ciphertext: memoryview, out: memoryview) -> None:
        open_segment(cipher, segment, ciphertext, out)  # type: ignore[arg-type]
        if waiting.is_set():
            decrypted.set()

    monkeypatch.setattr(CiphertextFile, "read", slow_read)
    monkeypatch.setattr(SegmentCipher, "open", watched_open)
    memory = bytearray(len(WEIGHTS))
    with LockedModel(path, CONTENT_KEY, threads=2) as model:
        model.file().read_all_into(memoryview(memory))
    assert memory == WEIGHTS


INTERRUPTED = """
import os, signal, sys, threading
from cryptors.reader import LockedModel
from cryptors.stream import SegmentCipher

signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background processes ignore it.
open_segment, lock, begun = SegmentCipher.open, threading.Lock(), 0

def interrupting(*arguments):
    global begun
    with lock:
        begun += 1
        now = begun == moment
    if now:
        os.kill(os.getpid(), signal.SIGINT)
    open_segment(*arguments)

SegmentCipher.open = interrupting
for threads in 1, 4:
    for moment in 2, 9, 24:
        begun = 0
        memory = bytearray(int(sys.argv[2]))
        try:
            with LockedModel(sys.argv[1], bytes(range(32)), threads) as model:
                model.file().read_all_into(memoryview(memory))
        except KeyboardInterrupt:
            print(threads, moment, memory == bytes(len(memory)), threading.active_count())
"""


def test_interrupt_from_the_keyboard(original: Path) -> None:
    """At several moments, in a process of its own, where it hits nobody else's code."""
    command = [sys.executable, "-c", INTERRUPTED, str(original), str(len(WEIGHTS))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [f"{threads} {moment} True 1" for threads in (1, 4) for moment in (2, 9, 24)]
    assert done.stderr == ""
