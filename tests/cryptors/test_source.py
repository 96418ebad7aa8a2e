"""What can be encrypted, and that a model which changes meanwhile is refused, not locked half old and half new."""

import errno
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptors.errors import ModelSourceError
from cryptors.index import MAX_FILES
from cryptors.reader import LockedModel
from cryptors.source import ModelSource, scan_source
from cryptors.writer import EncryptOptions, write_locked_model
from licensing.errors import FileAccessError, WeightlockError
from tests.cryptors.containers import CONTENT_KEY

SEGMENT = 1048576


def write_tree(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def lock(model: Path, locked: Path, options: EncryptOptions | None = None) -> None:
    source = ModelSource(scan_source(model), directory=model.is_dir())
    write_locked_model(source, "torch", CONTENT_KEY, locked, options or EncryptOptions())


def working_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("weightlock")]


def unlocked(locked: Path) -> dict[str, bytes]:
    with LockedModel(locked, CONTENT_KEY) as model:
        model.verify_rest()
        return {file.path: model.file(file.path).read_all() for file in model.index.files}


# Scanning.


def test_one_file(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"weights")
    assert scan_source(tmp_path / "net.pth") == {"net.pth": tmp_path / "net.pth"}


def test_directory(tmp_path: Path) -> None:
    names = ["a", "b/c", "b/d/e", ".hidden", "Größe"]
    write_tree(tmp_path, dict.fromkeys(names, b"1"))
    (tmp_path / "nothing in here").mkdir()
    assert scan_source(tmp_path) == {name: tmp_path / name for name in names}


def test_links_to_files_are_followed(tmp_path: Path) -> None:
    """A model cache keeps its files under their digests and names them with links."""
    write_tree(tmp_path, {"blobs/1234": b"weights", "model/config.json": b"{}"})
    (tmp_path / "model" / "weights").symlink_to("../blobs/1234")
    (tmp_path / "net.pth").symlink_to(tmp_path / "blobs" / "1234")
    lock(tmp_path / "model", tmp_path / "directory.locked")
    assert unlocked(tmp_path / "directory.locked") == {"config.json": b"{}", "weights": b"weights"}
    lock(tmp_path / "net.pth", tmp_path / "file.locked")
    assert unlocked(tmp_path / "file.locked") == {"net.pth": b"weights"}


def test_link_to_the_model_itself_is_followed(tmp_path: Path) -> None:
    write_tree(tmp_path / "v1", {"weights": b"1"})
    (tmp_path / "latest").symlink_to("v1")
    assert list(scan_source(tmp_path / "latest")) == ["weights"]


@pytest.mark.parametrize("target", ["../outside", ".", "b"])
def test_links_to_directories_are_refused(tmp_path: Path, target: str) -> None:
    """Followed, they would leave the model, or never end."""
    write_tree(tmp_path, {"outside/secret": b"1", "model/weights": b"1", "model/b/c": b"1"})
    (tmp_path / "model" / "link").symlink_to(target)
    with pytest.raises(ModelSourceError) as caught:
        scan_source(tmp_path / "model")
    assert caught.value.reason == "model_source_invalid"
    assert "link" in caught.value.message


def test_link_to_nothing_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path, {"model/weights": b"1"})
    (tmp_path / "model" / "link").symlink_to("nowhere")
    with pytest.raises(FileAccessError) as caught:
        lock(tmp_path / "model", tmp_path / "model.locked")
    assert caught.value.reason == "file_not_found"


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [os.mkfifo, make_socket, link_to_device])
@pytest.mark.parametrize("where", ["alone", "in a directory"])
def test_what_is_no_file_is_refused(tmp_path: Path, where: str, make: Callable[[Path], None]) -> None:
    """Opening a pipe that nobody writes to would hang, and a device never ends."""
    folder = write_tree(tmp_path / "model", {"weights": b"1"})
    make(folder / "special")
    with pytest.raises(FileAccessError) as caught:
        lock(folder / "special" if where == "alone" else folder, tmp_path / "model.locked")
    assert caught.value.reason == "not_a_file"
    assert not (tmp_path / "model.locked").exists()


@pytest.mark.parametrize("name", [b"weights\xff", b"a\nb", b"a\\b", b"a\x1bb", "a\u202eb".encode()])
@pytest.mark.parametrize("where", ["alone", "in a directory"])
def test_names_that_a_container_cannot_hold_are_refused(tmp_path: Path, name: bytes, where: str) -> None:
    """As they are said in the sentence they must not disturb a terminal, nor break its encoding."""
    folder = tmp_path / "model"
    write_tree(folder, {"weights": b"1"})
    path = folder / os.fsdecode(name)
    path.write_bytes(b"1")
    with pytest.raises(ModelSourceError) as caught:
        lock(path if where == "alone" else folder, tmp_path / "model.locked")
    assert caught.value.reason == "model_source_invalid"
    assert caught.value.message.isprintable()


def test_empty_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model" / "nothing in here").mkdir(parents=True)
    with pytest.raises(ModelSourceError, match="is empty"):
        scan_source(tmp_path / "model")


def test_missing_model(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError) as caught:
        scan_source(tmp_path / "missing")
    assert caught.value.reason == "file_not_found"


@pytest.mark.slow
def test_ten_thousand_files(tmp_path: Path) -> None:
    files = {f"{number % 100:02}/{number:05}": str(number).encode() for number in range(10_000)}
    write_tree(tmp_path / "model", files)
    lock(tmp_path / "model", tmp_path / "model.locked")
    assert unlocked(tmp_path / "model.locked") == files


def test_more_files_than_a_container_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(tmp_path, {"a": b"", "b": b"", "c": b"", "d": b""})
    assert MAX_FILES == 65536
    monkeypatch.setattr("cryptors.source.MAX_FILES", 3)
    with pytest.raises(ModelSourceError, match="more than 3 files"):
        scan_source(tmp_path)


# Reading.


def test_any_part_of_the_plaintext(tmp_path: Path) -> None:
    """The index, the padding behind it, the files, and the padding between them."""
    files = {"a": b"12345", "b": bytes(range(256)) * 20, "c": b"", "d": b"6"}
    source = ModelSource(scan_source(write_tree(tmp_path, files)), directory=True)
    whole = bytearray(source.index.plaintext_bytes)
    source.read_into(0, memoryview(whole))
    assert whole.startswith(source.index.to_bytes())
    for file in source.index.files:
        assert whole[file.offset : file.offset + file.size] == files[file.path]
    assert len(whole) == 12288 + 4096 + 1
    for start in (0, 1, 4095, 4096, 4100, 4101, 8191, 8192, 13311, 13312, 16383, 16384):
        for count in (0, 1, 5, 4096, 10_000):
            part = bytearray(b"\xaa" * max(0, min(count, len(whole) - start)))
            source.read_into(start, memoryview(part))
            assert part == whole[start : start + count]


# Changes.


def append(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def overwrite(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")


def truncate(path: Path) -> None:
    os.truncate(path, 10)


def replace(path: Path) -> None:
    """Puts another file of the same size and time under the name."""
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(bytes(status.st_size))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


def make_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = [append, overwrite, truncate, replace, Path.unlink, make_a_pipe]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", ["a", "m", "z"], ids=["read already", "being read", "still to be read"])
@pytest.mark.parametrize("after", [1, 3])
def test_source_that_changes_while_it_is_encrypted(
    tmp_path: Path, after: int, name: str, change: Callable[[Path], None]
) -> None:
    model = write_tree(tmp_path / "model", {"a": bytes(100), "m": bytes(20 * SEGMENT), "z": bytes(100)})
    assert_changing_source_is_refused(model, lambda: change(model / name), after, threads=1)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize(("threads", "after"), [(1, 1), (1, 3), (4, 1)])
def test_file_that_changes_while_it_is_encrypted(
    tmp_path: Path, threads: int, after: int, change: Callable[[Path], None]
) -> None:
    model = write_tree(tmp_path / "model", {"net.pth": bytes(40 * SEGMENT)}) / "net.pth"
    assert_changing_source_is_refused(model, lambda: change(model), after, threads)


def assert_changing_source_is_refused(model: Path, change: Callable[[], object], after: int, threads: int) -> None:
    """Makes the change when progress has been reported so often."""
    reported: list[int] = []

    def progress(done: int, total: int) -> None:
        reported.append(done)
        if len(reported) == after:
            change()

    output = model.with_name("output")
    output.mkdir()
    with pytest.raises(WeightlockError) as caught:
        lock(model, output / "model.locked", EncryptOptions(threads=threads, progress=progress))
    assert caught.value.reason in ("model_source_invalid", "file_not_found")
    assert "net.pth" in caught.value.message or model.is_dir()
    assert os.listdir(output) == []
    assert len(reported) >= after
    assert working_threads() == []


def test_source_that_changes_after_its_last_byte_was_read(tmp_path: Path) -> None:
    model = write_tree(tmp_path / "model", {"a": bytes(100)})
    output = tmp_path / "out"
    output.mkdir()
    options = EncryptOptions(progress=lambda done, total: append(model / "a"))
    with pytest.raises(ModelSourceError) as caught:
        lock(model, output / "model.locked", options)
    assert caught.value.reason == "model_source_invalid"
    assert "changed" in caught.value.message
    assert os.listdir(output) == []


# Storage.


class Storage:
    """Stands in for `os.preadv`: reads at most so many bytes at once, and fails from some read on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, fails_at: int = 10**9) -> None:
        self._preadv = os.preadv
        self._most = most
        self._fails_at = fails_at
        self.reads = 0
        monkeypatch.setattr(os, "preadv", self)

    def __call__(self, descriptor: int, buffers: list[memoryview], position: int) -> int:
        self.reads += 1
        if self.reads >= self._fails_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._preadv(descriptor, [buffers[0][: self._most]], position)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("most", [100_000, SEGMENT - 1])
def test_storage_that_returns_less_than_it_is_asked_for(
    tmp_path: Path, most: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a": os.urandom(9 * SEGMENT + 7), "b": os.urandom(5000)}
    model = write_tree(tmp_path / "model", files)
    with monkeypatch.context() as patched:
        storage = Storage(patched, most)
        lock(model, tmp_path / "model.locked", EncryptOptions(threads=threads))
    assert storage.reads >= 10
    assert unlocked(tmp_path / "model.locked") == files


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("fails_at", [1, 2, 5])
def test_storage_that_fails(tmp_path: Path, fails_at: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "net.pth").write_bytes(bytes(40 * SEGMENT))
    Storage(monkeypatch, 10 * SEGMENT, fails_at)
    with pytest.raises(FileAccessError) as caught:
        lock(tmp_path / "net.pth", tmp_path / "output" / "model.locked", EncryptOptions(threads=threads))
    assert caught.value.reason == "file_unreadable"
    assert "input/output error" in caught.value.message
    assert os.listdir(tmp_path / "output") == []
    assert working_threads() == []
