"""Archives of `torch.save` over decrypted memory: whatever the archive is like, the same as `torch.load`."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cryptors import CryptorFactory
from tests.contract import networks
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.refusals import assert_refused

TORCH = CryptorFactory.instance("torch")
STATE: dict[str, Any] = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, -2], dtype=torch.int16)}


def saved(model: Any) -> bytes:
    file = io.BytesIO()
    torch.save(model, file)
    return file.getvalue()


def lock(folder: Path, archive: bytes) -> Path:
    (folder / "model.pt").write_bytes(archive)
    TORCH.encrypt(folder / "model.pt", CONTENT_KEY, folder / "model.locked", None)
    return folder / "model.locked"


def rewritten(
    archive: bytes, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """Returns an archive as another program would write it, with each record changed; None leaves one out."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(file, "w", compression) as new:
        for member in old.infolist():
            data = change(member.filename.partition("/")[2], old.read(member))
            if data is not None:
                new.writestr(member.filename, data)
    return file.getvalue()


def assert_same(loaded: Any) -> None:
    assert loaded.keys() == STATE.keys()
    for name, expected in STATE.items():
        assert loaded[name].dtype == expected.dtype
        assert torch.equal(loaded[name], expected)


# Where tensors are.


def test_tensors_are_parts_of_one_memory(tmp_path: Path) -> None:
    """In the distances that they have in the file: nothing was copied."""
    state = {"a": torch.randn(300_000), "b": torch.randn(300_000)}
    archive = saved(state)
    loaded = TORCH.load(lock(tmp_path, archive), CONTENT_KEY)
    offsets = [archive.index(tensor.numpy().tobytes()) for tensor in state.values()]
    assert loaded["b"].data_ptr() - loaded["a"].data_ptr() == offsets[1] - offsets[0]


def test_each_tensor_has_a_storage_of_its_own(tmp_path: Path) -> None:
    """Otherwise saving one of them would save the whole model."""
    loaded = TORCH.load(lock(tmp_path, saved(STATE)), CONTENT_KEY)
    assert {name: tensor.untyped_storage().nbytes() for name, tensor in loaded.items()} == {"a": 24, "b": 4}
    assert_same(torch.load(io.BytesIO(saved(loaded))))


def test_tensors_that_share_a_storage_still_do(tmp_path: Path) -> None:
    shared = torch.zeros(10)
    loaded = TORCH.load(lock(tmp_path, saved({"first": shared[:6], "second": shared[4:]})), CONTENT_KEY)
    loaded["first"][5] = 7
    assert loaded["second"].tolist() == [0, 7, 0, 0, 0, 0]


def test_tensors_can_be_changed(tmp_path: Path) -> None:
    locked = lock(tmp_path, saved(STATE))
    TORCH.load(locked, CONTENT_KEY)["a"].fill_(9)
    assert_same(TORCH.load(locked, CONTENT_KEY))


# Other archives.


def test_archive_that_another_program_wrote(tmp_path: Path) -> None:
    assert_same(TORCH.load(lock(tmp_path, rewritten(saved(STATE), lambda name, data: data)), CONTENT_KEY))


def test_compressed_archive(tmp_path: Path) -> None:
    archive = rewritten(saved(STATE), lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert_same(TORCH.load(lock(tmp_path, archive), CONTENT_KEY))


def test_archive_without_its_byte_order(tmp_path: Path) -> None:
    """As PyTorch wrote them before 2.1."""
    archive = rewritten(saved(STATE), lambda name, data: None if name == "byteorder" else data)
    locked = lock(tmp_path, archive)
    assert_same(TORCH.load(locked, CONTENT_KEY))
    with TORCH.load(locked, CONTENT_KEY, lazy=True) as tensors:
        assert set(tensors) == set(STATE)


def big_endian(name: str, data: bytes) -> bytes:
    if name == "byteorder":
        return b"big"
    formats = {"data/0": "6f", "data/1": "2h"}
    return struct.pack(f">{formats[name]}", *struct.unpack(f"<{formats[name]}", data)) if name in formats else data


def test_archive_of_a_big_endian_machine(tmp_path: Path) -> None:
    locked = lock(tmp_path, rewritten(saved(STATE), big_endian))
    assert_same(TORCH.load(locked, CONTENT_KEY))
    assert_refused("usage", TORCH.load, locked, CONTENT_KEY, lazy=True)


def test_default_byte_order_that_the_caller_set(tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes | None:
        return None if name == "byteorder" else big_endian(name, data)

    locked = lock(tmp_path, rewritten(saved(STATE), change))
    before = torch.serialization.get_default_load_endianness()
    torch.serialization.set_default_load_endianness(torch.serialization.LoadEndianness.BIG)
    try:
        assert_same(TORCH.load(locked, CONTENT_KEY))
    finally:
        torch.serialization.set_default_load_endianness(before)


@pytest.mark.parametrize("cut", [1, 10, 30, 100])
def test_archive_without_its_end(tmp_path: Path, cut: int) -> None:
    """It was damaged before it was locked."""
    locked = write_container(tmp_path / "model.locked", {"model.pt": saved(STATE)[:-cut]})
    assert_refused("model_rejected", TORCH.load, locked, CONTENT_KEY)


def test_record_that_is_missing(tmp_path: Path) -> None:
    archive = rewritten(saved(STATE), lambda name, data: None if name == "data/1" else data)
    assert_refused("model_rejected", TORCH.load, lock(tmp_path, archive), CONTENT_KEY)


def test_record_that_is_shorter_than_its_storage(tmp_path: Path) -> None:
    """What PyTorch does with it, and not bytes of the next record."""
    archive = rewritten(saved(STATE), lambda name, data: data[:-4] if name == "data/0" else data)
    locked = lock(tmp_path, archive)
    try:
        expected = torch.load(io.BytesIO(archive), weights_only=True)
    except Exception:
        assert_refused("model_rejected", TORCH.load, locked, CONTENT_KEY)
    else:
        loaded = TORCH.load(locked, CONTENT_KEY)
        assert torch.equal(loaded["a"].reshape(-1)[:5], expected["a"].reshape(-1)[:5])


# What objects do with their data while they are built.


def test_sparse_tensors_are_checked(tmp_path: Path) -> None:
    """Where the caller has PyTorch check them: the indices are there when it does."""
    good = saved({"sparse": torch.eye(4).to_sparse()})
    indices = torch.eye(4).to_sparse().indices().numpy().tobytes()
    wrong = rewritten(good, lambda name, data: data.replace(indices, b"\x7f" * len(indices)))
    with torch.sparse.check_sparse_tensor_invariants():
        loaded = TORCH.load(lock(tmp_path, good), CONTENT_KEY)
        assert torch.equal(loaded["sparse"].to_dense(), torch.eye(4))
        (tmp_path / "model.locked").unlink()
        assert_refused("model_rejected", TORCH.load, lock(tmp_path, wrong), CONTENT_KEY)


@pytest.mark.filterwarnings("ignore:torch.quantize", "ignore:TypedStorage")
def test_quantized_tensors(tmp_path: Path) -> None:
    scales, points = torch.tensor([0.1, 0.2]), torch.tensor([0, 3])
    tensor = torch.quantize_per_channel(torch.randn(2, 5), scales, points, 0, torch.qint8)
    loaded = TORCH.load(lock(tmp_path, saved({"quantized": tensor})), CONTENT_KEY)["quantized"]
    assert torch.equal(loaded.int_repr(), tensor.int_repr())
    assert torch.equal(loaded.q_per_channel_scales(), tensor.q_per_channel_scales())


def test_module(tmp_path: Path) -> None:
    network = networks.tiny_network()
    loaded = TORCH.load(lock(tmp_path, saved(network)), CONTENT_KEY, weights_only=False)
    assert torch.equal(loaded(torch.ones(1, 1)), network(torch.ones(1, 1)))


# map_location.


@pytest.mark.parametrize(
    "place", [None, "cpu", torch.device("cpu"), {"cpu": "cpu"}, {}, lambda storage, location: None]
)
def test_forms_of_map_location(tmp_path: Path, place: Any) -> None:
    assert_same(TORCH.load(lock(tmp_path, saved(STATE)), CONTENT_KEY, map_location=place))


def test_callable_sees_the_data(tmp_path: Path) -> None:
    seen: list[tuple[bytes, str]] = []

    def place(storage: Any, location: str) -> Any:
        seen.append((bytes(storage.tolist()), location))
        return storage.clone()

    assert_same(TORCH.load(lock(tmp_path, saved(STATE)), CONTENT_KEY, map_location=place))
    assert seen == [(tensor.numpy().tobytes(), "cpu") for tensor in STATE.values()]


def test_nothing_is_left_in_memory_that_somebody_kept_when_loading_failed(tmp_path: Path) -> None:
    kept: list[Any] = []

    def place(storage: Any, location: str) -> Any:
        kept.append(storage)
        if len(kept) == 2:
            raise ValueError("no place")

    assert_refused("model_rejected", TORCH.load, lock(tmp_path, saved(STATE)), CONTENT_KEY, map_location=place)
    assert all(not any(storage.tolist()) for storage in kept)


def test_setting_of_the_caller_that_maps_files(tmp_path: Path) -> None:
    with torch.utils.serialization.config.patch({"load.mmap": True}):
        assert_same(TORCH.load(lock(tmp_path, saved(STATE)), CONTENT_KEY))
