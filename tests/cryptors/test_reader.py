"""docs/spec/container.md, section 6: any part can be read, only what is authentic comes out, and nothing is missed."""

import io
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptors.ciphertext import CiphertextFile
from cryptors.errors import KeyMismatchError, ModelDamagedError, ModelMalformedError
from cryptors.reader import LockedModel, ModelFile, read_header
from tests.cryptors.containers import CONTENT_KEY, write_container

SEGMENT = 1048576
FILES = {"empty": b"", "one": b"1", "weights/a": os.urandom(3 * SEGMENT + 12345), "weights/b": os.urandom(SEGMENT)}
BIG = "weights/a"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A locked model of several files and segments; tests copy it before they change it."""
    return write_container(tmp_path_factory.mktemp("reader") / "model.locked", FILES)


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[LockedModel]:
    with LockedModel(path, CONTENT_KEY) as model:
        yield model


def changed(path: Path, folder: Path, place: int) -> Path:
    """Returns a copy in which one byte is another; places before zero count from the end."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    (folder / "changed.locked").write_bytes(data)
    return folder / "changed.locked"


# What is there can be read, wherever it is.


@pytest.mark.parametrize("name", FILES)
def test_whole_file(model: LockedModel, name: str) -> None:
    file, memory = model.file(name), bytearray(len(FILES[name]))
    assert (file.path, file.size) == (name, len(FILES[name]))
    assert file.read_all() == FILES[name]
    file.read_all_into(memoryview(memory))
    assert memory == FILES[name]
    assert file.read() == FILES[name]


@given(st.sampled_from(sorted(FILES)), st.data())
@settings(deadline=None)
def test_any_part(model: LockedModel, name: str, data: st.DataObject) -> None:
    content = FILES[name]
    start = data.draw(st.integers(0, len(content) + 10))
    count = data.draw(st.integers(0, len(content) + 10))
    file = model.file(name)
    assert file.seek(start) == start
    assert file.read(count) == content[start : start + count]
    assert file.tell() == max(start, min(start + count, len(content)))


@given(st.lists(st.tuples(st.integers(0, len(FILES[BIG])), st.integers(0, 5000)), max_size=20))
@settings(deadline=None)
def test_small_reads_in_any_order(model: LockedModel, reads: list[tuple[int, int]]) -> None:
    """As a framework reads a zip file: behind a buffer, back and forth."""
    with io.BufferedReader(model.file(BIG)) as file:
        for start, count in reads:
            file.seek(start)
            assert file.read(count) == FILES[BIG][start : start + count]


def test_file_behaves_like_any_other(model: LockedModel) -> None:
    file = model.file(BIG)
    assert file.readable()
    assert file.seekable()
    assert not file.writable()
    assert file.seek(-5, os.SEEK_END) == len(FILES[BIG]) - 5
    assert file.seek(2, os.SEEK_CUR) == len(FILES[BIG]) - 3
    assert file.read() == FILES[BIG][-3:]
    assert file.read() == b""
    file.seek(-3, os.SEEK_CUR)
    with pytest.raises(ValueError, match="negative"):
        file.seek(-1)
    assert file.tell() == len(FILES[BIG]) - 3, "a seek that failed moved nothing"


def test_entry_is_the_file_without_a_name(path: Path, model: LockedModel, tmp_path: Path) -> None:
    assert model.file().path == "empty", "the first one, where there is no entry"
    with LockedModel(write_container(tmp_path / "m", FILES, entry=BIG), CONTENT_KEY) as other:
        assert other.file().path == BIG


def test_file_that_is_not_there(model: LockedModel) -> None:
    with pytest.raises(ModelMalformedError):
        model.file("weights")


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("cached", [False, True])
def test_every_thread_count_reads_the_same(
    path: Path, threads: int, cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CiphertextFile, "is_cached", lambda file, position: cached)
    with LockedModel(path, CONTENT_KEY, threads) as model:
        assert model.file(BIG).read_all() == FILES[BIG]


def test_several_threads_read_from_one_model(path: Path) -> None:
    """As lazily loaded tensors are: parts of segments, at the same time, and more of them than are kept."""
    wrong: list[int] = []

    def read(file: ModelFile, seed: int) -> None:
        places = random.Random(seed)
        for _ in range(60):
            start = places.randrange(file.size)
            target = bytearray(min(places.choice([10, 5000, 2 * SEGMENT]), file.size - start))
            file.read_at(start, memoryview(target))
            if target != FILES[BIG][start : start + len(target)]:
                wrong.append(start)

    with LockedModel(path, CONTENT_KEY, threads=2) as model:
        readers = [threading.Thread(target=read, args=(model.file(BIG), seed)) for seed in range(6)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert wrong == []


# What is not authentic does not come out.


def test_wrong_key(path: Path) -> None:
    with pytest.raises(KeyMismatchError) as caught:
        LockedModel(path, bytes(32))
    assert caught.value.reason == "key_mismatch"


@pytest.mark.parametrize("threads", [1, 4])
def test_failed_read_leaves_zeros(path: Path, tmp_path: Path, threads: int) -> None:
    """Also where other segments of the same read were authentic."""
    place = read_header(path).payload_offset + 2 * SEGMENT + 100
    memory = bytearray(b"\xaa" * len(FILES[BIG]))
    with LockedModel(changed(path, tmp_path, place), CONTENT_KEY, threads) as model:
        with pytest.raises(ModelDamagedError) as caught:
            model.file(BIG).read_all_into(memoryview(memory))
        assert model.failure is caught.value
    assert caught.value.reason == "model_damaged"
    assert memory == bytes(len(memory))


def test_damage_elsewhere_does_not_hinder_a_read_and_verify_rest_finds_it(path: Path, tmp_path: Path) -> None:
    with LockedModel(changed(path, tmp_path, -1), CONTENT_KEY) as model:
        file = model.file(BIG)
        assert file.read(1000) == FILES[BIG][:1000]
        with pytest.raises(ModelDamagedError):
            model.verify_rest()


def test_verify_rest_of_an_intact_model(path: Path) -> None:
    reports: list[tuple[int, int]] = []
    with LockedModel(path, CONTENT_KEY, progress=lambda *report: reports.append(report)) as model:
        model.verify_rest()
        total = model.header.plaintext_bytes
        assert reports == sorted(reports)
        assert reports[-1] == (total, total)
        model.verify_rest()
        assert reports[-1] == (total, total)


def test_file_that_shrinks_while_it_is_open(path: Path, tmp_path: Path) -> None:
    """A mapped file would end the process with a signal here."""
    copy = tmp_path / "model.locked"
    copy.write_bytes(path.read_bytes())
    with LockedModel(copy, CONTENT_KEY) as model:
        os.truncate(copy, read_header(path).payload_offset + SEGMENT + 7)
        with pytest.raises(ModelDamagedError) as caught:
            model.file(BIG).read_all()
        assert caught.value.reason == "model_damaged"
        with pytest.raises(ModelDamagedError):
            model.verify_rest()


def test_file_that_is_replaced_while_it_is_open(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model.locked"
    copy.write_bytes(path.read_bytes())
    with LockedModel(copy, CONTENT_KEY) as model:
        (tmp_path / "other").write_bytes(b"something else")
        (tmp_path / "other").rename(copy)
        assert model.file(BIG).read_all() == FILES[BIG]


# One copy.

# The kernel's mark of the highest memory use belongs to the program that runs, unlike that of getrusage, which a
# child inherits from the test run.
PEAK = """
import re, sys
from pathlib import Path
from cryptors.reader import LockedModel

def peak_bytes():
    return int(re.search("VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1]) * 1024

with LockedModel(sys.argv[1], bytes(range(32)), threads=2) as model:
    before = peak_bytes()
    data = model.file().read_all()
    print((peak_bytes() - before) / len(data))
"""


@pytest.mark.slow
def test_whole_file_as_bytes_is_held_once(tmp_path: Path) -> None:
    path = write_container(tmp_path / "model.locked", {"weights": bytes(200 * SEGMENT)})
    ended = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, check=True, text=True)
    assert 0.99 < float(ended.stdout) < 1.15
