"""Safetensors: all shards or none, every type of tensor, and nothing that depends on the memory it came from."""

import gc
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from cryptors import CryptorFactory
from tests.contract import networks
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.refusals import assert_refused

SAFETENSORS = CryptorFactory.instance("safetensors")
INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
A: Any = np.arange(6, dtype=np.float32).reshape(2, 3)
B: Any = np.arange(4, dtype=np.int64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in two shards with its index."""
    model = tmp_path / "model"
    model.mkdir()
    safetensors.numpy.save_file({"a": A}, model / FIRST)
    safetensors.numpy.save_file({"b": B}, model / SECOND)
    write_index(model, {"a": FIRST, "b": SECOND})
    return model


def write_index(model: Path, weight_map: Any) -> None:
    (model / INDEX).write_text(json.dumps({"metadata": {"total_size": 56}, "weight_map": weight_map}))


def lock(model: Path) -> Path:
    locked = model.parent / "model.locked"
    SAFETENSORS.encrypt(model, CONTENT_KEY, locked)
    return locked


def load(locked: Path) -> Any:
    return SAFETENSORS.load(locked, CONTENT_KEY, framework="np")


# Shards.


def test_shards_come_back_as_one(folder: Path) -> None:
    tensors = load(lock(folder))
    assert tensors.keys() == {"a", "b"}
    assert np.array_equal(tensors["a"], A)
    assert np.array_equal(tensors["b"], B)


def test_shards_without_an_index(folder: Path) -> None:
    (folder / INDEX).unlink()
    assert load(lock(folder)).keys() == {"a", "b"}


def test_same_tensors_once_more_in_one_file_beside_the_shards(folder: Path) -> None:
    """The index says which files make up the model; some hubs keep a consolidated copy beside them."""
    safetensors.numpy.save_file({"a": A, "b": B}, folder / "consolidated.safetensors")
    assert load(lock(folder)).keys() == {"a", "b"}


def test_index_of_another_name(folder: Path) -> None:
    """A variant, as some hubs name it."""
    (folder / INDEX).rename(folder / "model.fp16.safetensors.index.json")
    assert load(lock(folder)).keys() == {"a", "b"}


def test_shard_that_is_missing_is_noticed_by_the_vendor(folder: Path) -> None:
    """An interrupted download, and not something that a customer should find out."""
    (folder / SECOND).unlink()
    error = assert_refused("model_source_invalid", SAFETENSORS.encrypt, folder, CONTENT_KEY, folder.parent / "x")
    assert SECOND in error.message
    assert not (folder.parent / "x").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": 7}', '{"weight_map": {"a": 7}}', "[" * 100_000])
def test_index_that_is_none(folder: Path, text: str) -> None:
    (folder / INDEX).write_text(text)
    error = assert_refused("model_source_invalid", SAFETENSORS.encrypt, folder, CONTENT_KEY, folder.parent / "x")
    assert INDEX in error.message
    locked = write_container(folder.parent / "y", contents(folder), model_type="safetensors")
    assert INDEX in assert_refused("model_malformed", load, locked).message


def test_tensor_that_the_index_names_and_no_shard_holds(folder: Path) -> None:
    write_index(folder, {"a": FIRST, "b": SECOND, "c": SECOND})
    error = assert_refused("model_malformed", load, lock(folder))
    assert "'c'" in error.message


def test_tensor_in_two_shards(folder: Path) -> None:
    """Which one is meant, nobody can know."""
    safetensors.numpy.save_file({"b": B, "a": A}, folder / SECOND)
    error = assert_refused("model_malformed", load, lock(folder))
    assert "'a'" in error.message


def test_shard_that_is_damaged_before_it_was_locked(folder: Path) -> None:
    (folder / SECOND).write_bytes((folder / SECOND).read_bytes()[:-1])
    assert_refused("model_rejected", load, lock(folder))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Tensors.


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_number_of_tensors(tmp_path: Path, count: int) -> None:
    arrays: dict[str, Any] = {f"layer.{number}": np.full(number % 7, number, np.float32) for number in range(count)}
    safetensors.numpy.save_file(arrays, tmp_path / "m.safetensors")
    tensors = load(lock(tmp_path / "m.safetensors"))
    assert tensors.keys() == arrays.keys()
    assert all(np.array_equal(tensors[name], array) for name, array in arrays.items())


KINDS = [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.uint8, torch.bool]


def test_types_for_pytorch(tmp_path: Path) -> None:
    state = {str(kind): torch.tensor([[0.0, 1.0, 1.0]]).to(kind) for kind in KINDS}
    state |= {"scalar": torch.tensor(3.5), "empty": torch.empty(0, 3)}
    safetensors.torch.save_file(state, tmp_path / "m.safetensors")
    loaded = SAFETENSORS.load(lock(tmp_path / "m.safetensors"), CONTENT_KEY)
    assert loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(loaded[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))


def test_types_for_numpy(tmp_path: Path) -> None:
    kinds = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
    arrays: dict[str, Any] = {kind: np.array([[0, 1, 1]]).astype(kind) for kind in kinds}
    arrays["bfloat16"] = np.array([1.5, -2.0]).astype(ml_dtypes.bfloat16)
    safetensors.numpy.save_file(arrays, tmp_path / "m.safetensors")
    loaded = load(lock(tmp_path / "m.safetensors"))
    for kind, array in arrays.items():
        assert loaded[kind].dtype == array.dtype
        assert loaded[kind].tobytes() == array.tobytes()


@pytest.mark.parametrize("framework", ["pt", "np"])
def test_tensors_can_be_changed_and_outlive_their_memory(folder: Path, framework: str) -> None:
    """They come from a sealed memory file, which nobody can write to; what the caller has is the caller's own."""
    locked = lock(folder)
    tensors = SAFETENSORS.load(locked, CONTENT_KEY, framework=framework)
    gc.collect()
    tensors["a"][:] = 7
    assert np.asarray(tensors["a"]).tolist() == [[7, 7, 7], [7, 7, 7]]
    assert np.array_equal(load(locked)["a"], A)


def test_metadata_does_not_disturb(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": A}, tmp_path / "m.safetensors", metadata={"format": "pt", "é": "x"})
    assert load(lock(tmp_path / "m.safetensors")).keys() == {"a"}


# Options.


def test_place_of_the_tensors(folder: Path) -> None:
    assert SAFETENSORS.load(lock(folder), CONTENT_KEY, device="cpu")["a"].device.type == "cpu"


@pytest.mark.parametrize("framework", ["tf", "torch", "", "PT", None])
def test_framework_that_is_not_supported(folder: Path, framework: Any) -> None:
    assert_refused("usage", SAFETENSORS.load, lock(folder), CONTENT_KEY, framework=framework)


def test_architecture_makes_a_module_of_tensors(tmp_path: Path) -> None:
    state = networks.tiny_network().state_dict()
    safetensors.torch.save_file(state, tmp_path / "m.safetensors")
    architecture = f"{networks.__file__}:tiny_network"
    module = SAFETENSORS.load(lock(tmp_path / "m.safetensors"), CONTENT_KEY, architecture=architecture)
    assert torch.equal(module.last.weight, state["last.weight"])
    assert SAFETENSORS.infer(module, {"x": np.ones((1, 1), np.float32)}, "cpu")["output"].shape == (1, 3)


def test_architecture_of_another_model(folder: Path) -> None:
    architecture = f"{networks.__file__}:tiny_network"
    assert_refused("model_rejected", SAFETENSORS.load, lock(folder), CONTENT_KEY, architecture=architecture)


def test_tensors_cannot_run_by_themselves(folder: Path) -> None:
    error = assert_refused("model_type_mismatch", SAFETENSORS.infer, load(lock(folder)), {"x": A}, "cpu")
    assert "--architecture" in error.hints[0]
