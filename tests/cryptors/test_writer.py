"""docs/spec/container.md, section 5: a locked model is whole or not there, and its original is what it was."""

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cryptors import CryptorFactory, EncryptOptions, Header, read_header
from cryptors.reader import LockedModel
from cryptors.source import ModelSource
from cryptors.writer import write_locked_model
from licensing.content_key import key_id
from licensing.errors import StorageError, WeightlockError
from licensing.version import __version__
from tests.cryptors.containers import CONTENT_KEY
from tests.footprint import PeakWatch
from tests.small_disk import SmallDisk
from tests.vendor_desk import write_model

CRYPTOR = CryptorFactory.instance("torch")
SAFETENSORS = CryptorFactory.instance("safetensors")
SEGMENT = 1048576


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Twelve segments, in a folder that holds nothing else."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    write_model(tmp_path / "in" / "net.pth", 12 * SEGMENT)
    return tmp_path / "in" / "net.pth"


@pytest.fixture
def out(model: Path) -> Path:
    """An empty folder."""
    return model.parents[1] / "out"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A directory that looks like a model in safetensors."""
    folder = tmp_path / "llama"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(b"1")
    return folder


def assert_refused(reason: str, model: Path, locked: Path, options: EncryptOptions | None = None) -> WeightlockError:
    cryptor = SAFETENSORS if model.is_dir() else CRYPTOR
    with pytest.raises(WeightlockError) as caught:
        cryptor.encrypt(model, CONTENT_KEY, locked, options)
    assert caught.value.reason == reason
    return caught.value


# The header.


def test_header_says_what_was_locked(model: Path, out: Path) -> None:
    moment = datetime(2026, 7, 1, 14, 30, 59, 999_999, tzinfo=timezone(timedelta(hours=2)))
    model_id = "01234567-89ab-4cde-8f01-23456789abcd"
    header = CRYPTOR.encrypt(model, CONTENT_KEY, out / "x.locked", EncryptOptions(model_id=model_id, now=moment))
    assert header == read_header(out / "x.locked")
    assert (header.model_id, header.name, header.model_type) == (model_id, "net.pth", "torch")
    assert (header.key_id, header.files) == (key_id(CONTENT_KEY), 1)
    assert header.content_bytes == model.stat().st_size
    assert header.created == "2026-07-01T12:30:59Z"
    assert header.generator == f"weightlock {__version__}"


def test_every_model_has_an_id_and_a_ciphertext_of_its_own(model: Path, out: Path) -> None:
    first, second = (CRYPTOR.encrypt(model, CONTENT_KEY, out / name) for name in ("1", "2"))
    assert first.model_id != second.model_id
    payloads = [(out / name).read_bytes()[header.payload_offset :] for name, header in (("1", first), ("2", second))]
    assert payloads[0][1:40] != payloads[1][1:40]
    assert payloads[0][-1000:] != payloads[1][-1000:]


def test_directory_is_called_by_its_own_name(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by that of its first file, which every model of this kind has."""
    monkeypatch.chdir(shards)
    for number, path in enumerate([str(shards), f"{shards}/", ".", "../llama"]):
        assert SAFETENSORS.encrypt(path, CONTENT_KEY, tmp_path / f"{number}.locked").name == "llama"


def test_name_that_the_vendor_gives(model: Path, out: Path) -> None:
    assert CRYPTOR.encrypt(model, CONTENT_KEY, out / "x", EncryptOptions(name="ResNet – 18")).name == "ResNet – 18"
    assert CRYPTOR.encrypt(model, CONTENT_KEY, out / "y", EncryptOptions(name="x" * 200)).name == "x" * 200


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "a\x1b[31m", "a\u202eb", "\udc80"])
def test_name_that_cannot_be_used(model: Path, out: Path, name: str) -> None:
    assert_refused("model_source_invalid", model, out / "x", EncryptOptions(name=name))
    assert os.listdir(out) == []


# The output.


def test_existing_output(model: Path, out: Path) -> None:
    (out / "x").write_text("mine")
    assert_refused("output_exists", model, out / "x")
    assert (out / "x").read_text() == "mine"
    header = CRYPTOR.encrypt(model, CONTENT_KEY, out / "x", EncryptOptions(replace=True))
    assert read_header(out / "x") == header
    assert os.listdir(out) == ["x"]


def test_output_that_appears_meanwhile(model: Path, out: Path) -> None:
    def somebody_writes(done: int, total: int) -> None:
        (out / "x").write_text("mine")

    assert_refused("output_exists", model, out / "x", EncryptOptions(progress=somebody_writes))
    assert (out / "x").read_text() == "mine"
    assert os.listdir(out) == ["x"]


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("spelling", ["same", "link", "hard link", "detour"])
def test_output_that_is_the_input(model: Path, out: Path, replace: bool, spelling: str) -> None:
    before = model.read_bytes()
    paths = {"same": model, "link": out / "link", "hard link": out / "hard", "detour": out / ".." / "in" / "net.pth"}
    (out / "link").symlink_to(model)
    (out / "hard").hardlink_to(model)
    assert_refused("output_is_input", model, paths[spelling], EncryptOptions(replace=replace))
    assert model.read_bytes() == before


def test_output_that_is_a_part_of_the_input(shards: Path) -> None:
    error = assert_refused("output_is_input", shards, shards / "config.json", EncryptOptions(replace=True))
    assert "is the input" in error.message
    assert (shards / "config.json").read_bytes() == b"1"


def test_output_beside_the_files_of_the_input(shards: Path) -> None:
    """Questionable, and harmless: what was scanned before is what is locked."""
    header = SAFETENSORS.encrypt(shards, CONTENT_KEY, shards / "model.locked")
    assert header.files == 2


def test_output_without_a_place(model: Path, out: Path) -> None:
    assert_refused("storage_failed", model, out / "missing" / "x")
    assert_refused("not_a_file", model, out)
    assert_refused("storage_failed", model, out / ("x" * 300))
    assert os.listdir(out) == []


# Large models.


@pytest.mark.parametrize("threads", [1, 4])
def test_model_that_is_written_directly_comes_back(
    model: Path, out: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryptors.writer.LARGE_BYTES", 0)
    CRYPTOR.encrypt(model, CONTENT_KEY, out / "x", EncryptOptions(threads=threads))
    with LockedModel(out / "x", CONTENT_KEY) as locked:
        assert locked.file().read_all() == model.read_bytes()


@pytest.mark.parametrize("threads", [1, 4])
def test_memory_does_not_grow_with_the_model(out: Path, tmp_path: Path, threads: int) -> None:
    write_model(tmp_path / "net.pth", 100)
    os.truncate(tmp_path / "net.pth", 200 * SEGMENT)
    source = ModelSource({"net.pth": tmp_path / "net.pth"}, directory=False)
    with PeakWatch(os.getpid()) as watch:
        write_locked_model(source, "torch", CONTENT_KEY, out / "x", EncryptOptions(threads=threads))
    assert watch.peak - watch.before < (8.5 * threads + 8) * SEGMENT


def test_large_model_that_does_not_fit_on_the_disk_is_refused_at_once(model: Path, small_disk: SmallDisk) -> None:
    """Sealing gigabytes until the disk is full would come to the same, later."""
    os.truncate(model, 100 * SEGMENT)
    source = ModelSource({"net.pth": model}, directory=False)
    reported: list[int] = []
    options = EncryptOptions(progress=lambda done, total: reported.append(done))
    with pytest.raises(StorageError) as caught:
        write_locked_model(source, "torch", CONTENT_KEY, small_disk.path / "x", options)
    assert caught.value.reason == "storage_full"
    assert (os.listdir(small_disk.path), reported) == ([], [])


def test_disk_that_fills_up_meanwhile(model: Path, small_disk: SmallDisk) -> None:
    write_model(model, 6 * SEGMENT)
    options = EncryptOptions(threads=1, progress=lambda done, total: small_disk.fill())
    assert_refused("storage_full", model, small_disk.path / "x", options)
    assert os.listdir(small_disk.path) == ["filler"]


# Interruptions.


def test_the_file_has_no_name_before_it_is_published(model: Path, out: Path) -> None:
    seen: list[Header] = []

    def before_publish(header: Header) -> None:
        seen.append(header)
        assert os.listdir(out) == []

    header = CRYPTOR.encrypt(model, CONTENT_KEY, out / "x", EncryptOptions(before_publish=before_publish))
    assert seen == [header]
    assert os.listdir(out) == ["x"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("moment", ["progress", "before_publish"])
@pytest.mark.parametrize("threads", [1, 4])
def test_interruption_leaves_nothing(
    model: Path, out: Path, error: type[BaseException], moment: str, threads: int
) -> None:
    before = model.read_bytes()
    (out / "y").write_text("mine")

    def fail(*arguments: object) -> None:
        raise error

    for name, replace in (("x", False), ("y", True)):
        options = EncryptOptions(threads=threads, replace=replace, **{moment: fail})  # type: ignore[arg-type]
        with pytest.raises(error):
            CRYPTOR.encrypt(model, CONTENT_KEY, out / name, options)
    assert os.listdir(out) == ["y"]
    assert (out / "y").read_text() == "mine"
    assert model.read_bytes() == before


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(model: Path, out: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        CRYPTOR.encrypt(model, CONTENT_KEY, out / "x")
    finally:
        os.umask(before)
    assert (out / "x").stat().st_mode & 0o777 == 0o666 & ~umask


def test_plaintext_is_not_in_the_file(out: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "net.pth", 100)
    CRYPTOR.encrypt(tmp_path / "net.pth", CONTENT_KEY, out / "x")
    with LockedModel(out / "x", CONTENT_KEY) as locked:
        assert b"data.pkl" in locked.file().read_all()
    assert b"data.pkl" not in (out / "x").read_bytes()
    assert CONTENT_KEY not in (out / "x").read_bytes()
