"""A model of a thousand shards opens, and gives one of them, without being read as a whole."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cryptors import CryptorFactory, read_header
from cryptors.reader import LockedModel
from tests.cryptors.containers import CONTENT_KEY

SHARDS = 1000
TENSOR_BYTES = 50_000
SEGMENT = 1048576
SAFETENSORS = CryptorFactory.instance("safetensors")


def shard_name(number: int) -> str:
    return f"model-{number:05}-of-{SHARDS:05}.safetensors"


def shard(number: int) -> bytes:
    """Returns a shard with one tensor, whose values are its number."""
    place = {"dtype": "I64", "shape": [TENSOR_BYTES // 8], "data_offsets": [0, TENSOR_BYTES]}
    header = json.dumps({f"layer.{number}": place}).encode()
    values: bytes = np.full(TENSOR_BYTES // 8, number, np.int64).tobytes()
    return len(header).to_bytes(8, "little") + header + values


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the locked model, of some fifty segments."""
    folder = tmp_path_factory.mktemp("shards") / "model"
    folder.mkdir()
    for number in range(SHARDS):
        (folder / shard_name(number)).write_bytes(shard(number))
    weight_map = {f"layer.{number}": shard_name(number) for number in range(SHARDS)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    SAFETENSORS.encrypt(folder, CONTENT_KEY, folder.with_name("model.locked"))
    return folder.with_name("model.locked")


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Returns what tells how many bytes have been read from files since it was last asked."""
    counts = [0]
    preadv, pread = os.preadv, os.pread

    def counted_preadv(descriptor: int, buffers: list[memoryview], position: int, flags: int = 0) -> int:
        counts.append(preadv(descriptor, buffers, position, flags))
        return counts[-1]

    def counted_pread(descriptor: int, length: int, position: int) -> bytes:
        data = pread(descriptor, length, position)
        counts.append(len(data))
        return data

    def take() -> int:
        taken = sum(counts)
        counts.clear()
        return taken

    monkeypatch.setattr(os, "preadv", counted_preadv)
    monkeypatch.setattr(os, "pread", counted_pread)
    return take


def test_inspecting_reads_the_header_alone(locked: Path, read_bytes: Callable[[], int]) -> None:
    assert read_header(locked).files == SHARDS + 1
    assert 0 < read_bytes() < 2000


def test_opening_reads_the_index_alone(locked: Path, read_bytes: Callable[[], int]) -> None:
    with LockedModel(locked, CONTENT_KEY) as model:
        assert len(model.index.files) == SHARDS + 1
    assert SEGMENT <= read_bytes() < 1.1 * SEGMENT


@pytest.mark.parametrize("number", [0, 500, SHARDS - 1])
def test_one_shard(locked: Path, number: int, read_bytes: Callable[[], int]) -> None:
    with LockedModel(locked, CONTENT_KEY) as model:
        read_bytes()
        assert model.file(shard_name(number)).read_all() == shard(number)
    assert read_bytes() < 2.1 * SEGMENT


def test_one_tensor(locked: Path, read_bytes: Callable[[], int]) -> None:
    """Beside the index of the container it takes the index of the tensors, the shard's header and its tensor."""
    with SAFETENSORS.load(locked, CONTENT_KEY, framework="np", lazy=True) as tensors:
        assert len(tensors) == SHARDS
        assert tensors["layer.700"].tobytes() == shard(700)[-TENSOR_BYTES:]
    assert SEGMENT < read_bytes() < 6 * SEGMENT < locked.stat().st_size / 8


def test_all_of_it_is_there(locked: Path, read_bytes: Callable[[], int]) -> None:
    """Without this, the others could pass because reading is not counted."""
    tensors = SAFETENSORS.load(locked, CONTENT_KEY, framework="np")
    assert all((tensors[f"layer.{number}"] == number).all() for number in range(SHARDS))
    assert read_bytes() > 0.99 * locked.stat().st_size
