"""The vendor's way back: the same files, byte for byte, and never a file outside the output."""

import os
from pathlib import Path

import pytest

from cryptors import CryptorFactory
from cryptors.index import Index, IndexedFile
from cryptors.reader import LockedModel
from cryptors.unpack import unpack
from licensing.errors import WeightlockError
from tests.cryptors.containers import CONTENT_KEY, container, write_container
from tests.cryptors.test_index import BAD_PATHS
from tests.vendor_desk import write_model

SEGMENT = 1048576
FILES = {
    "config.json": b"{}",
    "empty": b"",
    "weights/a": os.urandom(17 * SEGMENT + 5),
    "weights/deep/b": os.urandom(5000),
    "Größe": b"1",
}
UNENCODABLE = BAD_PATHS["lone surrogate"]
"""JSON could only escape it, which the canonical form does not."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder, beside the locked model."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unpack_file(locked: Path, output: Path, replace: bool = False) -> None:
    with LockedModel(locked, CONTENT_KEY) as model:
        unpack(model, output, replace)


def assert_refused(reason: str, locked: Path, output: Path, replace: bool = False) -> None:
    with pytest.raises(WeightlockError) as caught:
        unpack_file(locked, output, replace)
    assert caught.value.reason == reason


def test_file(tmp_path: Path, out: Path) -> None:
    write_model(tmp_path / "net.pth", 3 * SEGMENT)
    CryptorFactory.instance("torch").encrypt(tmp_path / "net.pth", CONTENT_KEY, tmp_path / "net.locked")
    unpack_file(tmp_path / "net.locked", out / "again.pth")
    assert tree(out) == {"again.pth": (tmp_path / "net.pth").read_bytes()}
    assert (out / "again.pth").stat().st_mode & 0o777 == 0o600


def test_existing_file(tmp_path: Path, out: Path) -> None:
    write_model(tmp_path / "net.pth", 100)
    CryptorFactory.instance("torch").encrypt(tmp_path / "net.pth", CONTENT_KEY, tmp_path / "net.locked")
    (out / "x").write_text("mine")
    assert_refused("output_exists", tmp_path / "net.locked", out / "x")
    assert_refused("not_a_file", tmp_path / "net.locked", out)
    assert tree(out) == {"x": b"mine"}
    unpack_file(tmp_path / "net.locked", out / "x", replace=True)
    assert tree(out) == {"x": (tmp_path / "net.pth").read_bytes()}


def test_directory(tmp_path: Path, out: Path) -> None:
    locked = write_container(tmp_path / "model.locked", FILES)
    unpack_file(locked, out / "model")
    assert tree(out / "model") == FILES
    assert os.listdir(out) == ["model"]
    assert (out / "model").stat().st_mode & 0o777 == 0o700


def test_directory_of_a_vendor(tmp_path: Path, out: Path) -> None:
    """Through the cryptor, so that writer, reader and this agree."""
    for path, data in {**FILES, "model.safetensors": b"weights"}.items():
        (tmp_path / "model" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / path).write_bytes(data)
    CryptorFactory.instance("safetensors").encrypt(tmp_path / "model", CONTENT_KEY, tmp_path / "model.locked")
    unpack_file(tmp_path / "model.locked", out / "model")
    assert tree(out / "model") == tree(tmp_path / "model")


def test_empty_directory_can_be_the_output(tmp_path: Path, out: Path) -> None:
    unpack_file(write_container(tmp_path / "model.locked", FILES), out)
    assert tree(out) == FILES


@pytest.mark.parametrize("replace", [False, True])
def test_directory_that_holds_something_is_never_replaced(tmp_path: Path, out: Path, replace: bool) -> None:
    locked = write_container(tmp_path / "model.locked", FILES)
    (out / "x").write_text("mine")
    assert_refused("output_exists", locked, out, replace)
    assert_refused("output_exists", locked, out / "x", replace)
    assert tree(out) == {"x": b"mine"}


def test_output_without_a_place(tmp_path: Path, out: Path) -> None:
    locked = write_container(tmp_path / "model.locked", FILES)
    assert_refused("storage_failed", locked, out / "missing" / "model")
    assert os.listdir(out) == []


@pytest.mark.parametrize("directory", [True, False])
def test_damaged_model_leaves_nothing(tmp_path: Path, out: Path, directory: bool) -> None:
    if directory:
        data = bytearray(container(FILES))
    else:
        write_model(tmp_path / "net.pth", 3 * SEGMENT)
        CryptorFactory.instance("torch").encrypt(tmp_path / "net.pth", CONTENT_KEY, tmp_path / "net.locked")
        data = bytearray((tmp_path / "net.locked").read_bytes())
    data[-1] ^= 1
    (tmp_path / "damaged.locked").write_bytes(data)
    assert_refused("model_damaged", tmp_path / "damaged.locked", out / "model")
    assert os.listdir(out) == []


def test_last_file_is_empty_and_a_segment_before_it_is_damaged(tmp_path: Path, out: Path) -> None:
    """Bytes that belong to no file are authenticated too."""
    files = {"a": b"1" * (SEGMENT - 4096 - 100), "z": b""}
    data = bytearray(container(files))
    data[-1] ^= 1
    (tmp_path / "damaged.locked").write_bytes(data)
    assert_refused("model_damaged", tmp_path / "damaged.locked", out / "model")
    assert os.listdir(out) == []


@pytest.mark.parametrize("path", [path for path in BAD_PATHS.values() if path != UNENCODABLE])
def test_path_that_leads_elsewhere_is_never_written(tmp_path: Path, out: Path, path: str) -> None:
    """The container is authentic: a deceived vendor made it with another program."""
    index = Index(True, (IndexedFile(path, 4096, 4),))
    (tmp_path / "hostile.locked").write_bytes(container({path: b"evil"}, index))
    before = sorted(tmp_path.rglob("*"))
    assert_refused("model_malformed", tmp_path / "hostile.locked", out / "model")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("paths", [("a", "a/b"), ("a", "a")])
def test_paths_that_collide_are_never_written(tmp_path: Path, out: Path, paths: tuple[str, str]) -> None:
    index = Index(True, (IndexedFile(paths[0], 4096, 4), IndexedFile(paths[1], 8192, 4)))
    (tmp_path / "hostile.locked").write_bytes(container(dict.fromkeys(paths, b"evil"), index))
    assert_refused("model_malformed", tmp_path / "hostile.locked", out / "model")
    assert os.listdir(out) == []
