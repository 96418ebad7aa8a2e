"""Lazy loading: the same tensors as otherwise, at the cost of what is touched, and never the wrong bytes."""

import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptors import CryptorFactory
from cryptors.lazy_tensors import LazyTensors
from cryptors.stream import SEGMENT_BYTES
from tests.cryptors.containers import CONTENT_KEY
from tests.refusals import assert_refused

TORCH, SAFETENSORS = (CryptorFactory.instance(name) for name in ("torch", "safetensors"))


def lock_torch(folder: Path, state: Any, **options: Any) -> Path:
    torch.save(state, folder / "model.pt", **options)
    TORCH.encrypt(folder / "model.pt", CONTENT_KEY, folder / "model.locked")
    return folder / "model.locked"


def lock_safetensors(folder: Path, tensors: dict[str, Any]) -> Path:
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    SAFETENSORS.encrypt(folder / "model.safetensors", CONTENT_KEY, folder / "model.locked")
    return folder / "model.locked"


def many_kinds() -> dict[str, Any]:
    kinds = [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.uint8, torch.bool]
    state = {str(kind): torch.tensor([[0.0, 1.0, 1.0]]).to(kind) for kind in kinds}
    return state | {"scalar": torch.tensor(3.5), "empty": torch.empty(0, 3), "long": torch.randn(700, 900)}


def assert_same(tensor: Any, expected: Any) -> None:
    assert (type(tensor), tensor.dtype, tensor.shape) == (type(expected), expected.dtype, expected.shape)
    assert tensor.requires_grad == expected.requires_grad
    as_bytes = [value.detach().contiguous().reshape(-1).view(torch.uint8) for value in (tensor, expected)]
    assert torch.equal(*as_bytes)


# The same tensors.


def test_state_dict(tmp_path: Path) -> None:
    shared = torch.arange(10.0)
    state = many_kinds() | {
        "first half": shared[:5],
        "second half": shared[5:],
        "transposed": torch.randn(40, 70).t(),
        "every other": torch.arange(20)[3:17:2],
        "repeated": torch.arange(3.0).expand(4, 3),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "frozen": torch.nn.Parameter(torch.ones(3), requires_grad=False),
    }
    with TORCH.load(lock_torch(tmp_path, state), CONTENT_KEY, lazy=True) as tensors:
        assert isinstance(tensors, LazyTensors)
        assert list(tensors) == list(state)
        assert len(tensors) == len(state)
        for name, expected in state.items():
            assert_same(tensors[name], expected)


@pytest.mark.parametrize("framework", ["pt", "np"])
def test_safetensors(tmp_path: Path, framework: str) -> None:
    kinds = many_kinds()
    if framework == "np":
        del kinds["torch.float8_e4m3fn"]
    locked = lock_safetensors(tmp_path, kinds)
    expected = SAFETENSORS.load(locked, CONTENT_KEY, framework=framework)
    with SAFETENSORS.load(locked, CONTENT_KEY, framework=framework, lazy=True) as tensors:
        assert set(tensors) == expected.keys()
        for name, value in expected.items():
            if framework == "np":
                assert (tensors[name].dtype, tensors[name].shape) == (value.dtype, value.shape)
                assert tensors[name].tobytes() == value.tobytes()
            else:
                assert_same(tensors[name], value)


def test_shards(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for number in (1, 2):
        safetensors.numpy.save_file({f"t{number}": np.full(3, number)}, model / f"{number}.safetensors")
    SAFETENSORS.encrypt(model, CONTENT_KEY, tmp_path / "model.locked")
    with SAFETENSORS.load(tmp_path / "model.locked", CONTENT_KEY, framework="np", lazy=True) as tensors:
        assert {name: tensors[name].tolist() for name in tensors} == {"t1": [1, 1, 1], "t2": [2, 2, 2]}


def test_shard_without_the_tensor_that_the_index_promises(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    safetensors.numpy.save_file({"a": np.ones(3)}, model / "1.safetensors")
    (model / "model.safetensors.index.json").write_text('{"weight_map": {"b": "1.safetensors"}}')
    SAFETENSORS.encrypt(model, CONTENT_KEY, tmp_path / "model.locked")
    with SAFETENSORS.load(tmp_path / "model.locked", CONTENT_KEY, lazy=True) as tensors:
        assert_refused("model_malformed", tensors.get_tensor, "b")


@pytest.fixture(scope="module")
def sliced(tmp_path_factory: pytest.TempPathFactory) -> Any:
    array = np.arange(7 * 5 * 3, dtype=np.int32).reshape(7, 5, 3)
    folder = tmp_path_factory.mktemp("sliced")
    locked = lock_safetensors(folder, {"t": torch.from_numpy(array.copy()), "s": torch.tensor(7)})
    return SAFETENSORS.load(locked, CONTENT_KEY, framework="np", lazy=True), array


BOUND = st.none() | st.integers(-9, 9)
INDEX = st.one_of(st.builds(slice, BOUND, BOUND, st.sampled_from([None, 1, 2, -1])), st.integers(-9, 9), st.just(...))


@given(index=st.one_of(INDEX, st.lists(INDEX, max_size=4).map(tuple)))
@settings(max_examples=300, deadline=None)
def test_slices(sliced: Any, index: Any) -> None:
    """Whatever an array answers to an index, with its errors."""
    tensors, array = sliced
    part = tensors.get_slice("t")
    assert (part.get_shape(), part.get_dtype()) == ([7, 5, 3], array.dtype)
    try:
        expected = array[index]
    except IndexError:
        with pytest.raises(IndexError):
            part[index]
    else:
        assert np.array_equal(part[index], expected)


def test_slice_of_a_scalar(sliced: Any) -> None:
    assert sliced[0].get_slice("s")[...] == 7


# The cost.


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts what is read from files."""
    counts: list[int] = []
    preadv = os.preadv

    def counting(descriptor: int, buffers: Any, offset: int) -> int:
        count = preadv(descriptor, buffers, offset)
        counts.append(count)
        return count

    monkeypatch.setattr(os, "preadv", counting)
    return counts


@pytest.mark.parametrize(("cryptor", "lock"), [(TORCH, lock_torch), (SAFETENSORS, lock_safetensors)])
def test_only_what_is_touched_is_read(
    tmp_path: Path, read_bytes: list[int], cryptor: Any, lock: Callable[..., Path]
) -> None:
    """Opening takes the first and the last segments; a tensor those that hold it, and the one with its local header."""
    state = {f"layer{number}": torch.full((512, 1024), float(number)) for number in range(20)}
    locked = lock(tmp_path, state)
    read_bytes.clear()
    with cryptor.load(locked, CONTENT_KEY, lazy=True) as tensors:
        assert sum(read_bytes) < 4 * SEGMENT_BYTES
        read_bytes.clear()
        assert torch.equal(tensors["layer9"], state["layer9"])
        assert sum(read_bytes) <= 4 * SEGMENT_BYTES
        read_bytes.clear()
        assert torch.equal(tensors.get_slice("layer15")[256:260], state["layer15"][256:260])
        assert sum(read_bytes) <= 3 * SEGMENT_BYTES


def test_shards_that_nobody_touches_are_not_read(tmp_path: Path, read_bytes: list[int]) -> None:
    model = tmp_path / "model"
    model.mkdir()
    weight_map = {f"t{number}": f"{number:03}.safetensors" for number in range(50)}
    for name, shard in weight_map.items():
        safetensors.numpy.save_file({name: np.full(2**17, 7.0)}, model / shard)
    (model / "model.safetensors.index.json").write_text(str({"weight_map": weight_map}).replace("'", '"'))
    SAFETENSORS.encrypt(model, CONTENT_KEY, tmp_path / "model.locked")
    read_bytes.clear()
    with SAFETENSORS.load(tmp_path / "model.locked", CONTENT_KEY, framework="np", lazy=True) as tensors:
        assert len(tensors) == 50
        assert tensors["t31"][-1] == 7.0
    assert sum(read_bytes) < 6 * SEGMENT_BYTES


def test_from_several_threads(tmp_path: Path) -> None:
    state = {f"layer{number}": torch.full((300, 1000), float(number)) for number in range(24)}
    wrong: list[str] = []
    with TORCH.load(lock_torch(tmp_path, state), CONTENT_KEY, lazy=True) as tensors:

        def read(names: list[str]) -> None:
            wrong.extend(name for name in names if not torch.equal(tensors[name], state[name]))

        threads = [threading.Thread(target=read, args=(list(state)[start::4],)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


# What can go wrong.


def test_damage(tmp_path: Path) -> None:
    """It is noticed by whoever touches it, and the rest stays good."""
    state = {f"layer{number}": torch.full((512, 1024), float(number)) for number in range(6)}
    locked = lock_torch(tmp_path, state)
    damaged = bytearray(locked.read_bytes())
    damaged[locked.stat().st_size // 2] ^= 1
    locked.write_bytes(damaged)
    assert_refused("model_damaged", TORCH.load, locked, CONTENT_KEY)
    with TORCH.load(locked, CONTENT_KEY, lazy=True) as tensors:
        assert torch.equal(tensors["layer0"], state["layer0"])
        refused = [name for name in state if not _reads(tensors, name)]
        assert len(refused) in (1, 2)
        assert_refused("model_damaged", tensors.get_tensor, refused[0])
        assert torch.equal(tensors["layer5"], state["layer5"])


def _reads(tensors: LazyTensors, name: str) -> bool:
    try:
        tensors[name]
    except Exception:
        return False
    return True


def test_closed(tmp_path: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with TORCH.load(lock_torch(tmp_path, {"a": torch.ones(3), "b": torch.ones(3)}), CONTENT_KEY, lazy=True) as tensors:
        kept = tensors["a"]
    assert kept.tolist() == [1, 1, 1]
    assert_refused("usage", tensors.get_tensor, "b")
    tensors.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    forgotten = TORCH.load(tmp_path / "model.locked", CONTENT_KEY, lazy=True)
    del forgotten
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_missing_tensor(tmp_path: Path) -> None:
    with TORCH.load(lock_torch(tmp_path, {"a": torch.ones(3)}), CONTENT_KEY, lazy=True) as tensors:
        assert "b" not in tensors
        assert tensors.get("b") is None
        with pytest.raises(KeyError):
            tensors["b"]


@pytest.mark.parametrize(
    "model",
    [
        {"epoch": 7, "model": {"weight": torch.ones(2)}},
        [torch.ones(2)],
        {1: torch.ones(2)},
        {"sparse": torch.eye(3).to_sparse()},
        {"conjugated": torch.ones(2, dtype=torch.complex64).conj()},
    ],
    ids=["nested", "list", "number as a name", "sparse", "conjugated"],
)
def test_models_that_are_no_state_dicts_of_plain_tensors(tmp_path: Path, model: Any) -> None:
    locked = lock_torch(tmp_path, model)
    descriptors = len(os.listdir("/proc/self/fd"))
    error = assert_refused("usage", TORCH.load, locked, CONTENT_KEY, lazy=True)
    assert error.hints == ("leave lazy out",)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    TORCH.load(locked, CONTENT_KEY)


@pytest.mark.filterwarnings("ignore:torch.quantize", "ignore:TypedStorage")
def test_quantized_tensors(tmp_path: Path) -> None:
    locked = lock_torch(tmp_path, {"quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)})
    assert_refused("usage", TORCH.load, locked, CONTENT_KEY, lazy=True)


def test_format_before_zip(tmp_path: Path) -> None:
    locked = lock_torch(tmp_path, {"a": torch.ones(3)}, _use_new_zipfile_serialization=False)
    assert_refused("usage", TORCH.load, locked, CONTENT_KEY, lazy=True)


@pytest.mark.parametrize("cryptor", [TORCH, SAFETENSORS])
def test_module_needs_all_tensors(tmp_path: Path, cryptor: Any) -> None:
    lock = lock_torch if cryptor is TORCH else lock_safetensors
    locked = lock(tmp_path, {"a": torch.ones(3)})
    assert_refused("usage", cryptor.load, locked, CONTENT_KEY, lazy=True, architecture="a:b")


def test_unsafe_pickle(tmp_path: Path) -> None:
    locked = lock_torch(tmp_path, {"a": torch.ones(3), "path": Path("x")})
    assert_refused("unsafe_pickle", TORCH.load, locked, CONTENT_KEY, lazy=True)


def test_archive_whose_records_are_not_where_pytorch_computes_them(tmp_path: Path) -> None:
    """Another program wrote the zip file again, and kept the mark by which PyTorch believes to know its layout."""
    state = {"a": torch.arange(3.0), "b": torch.arange(5.0)}
    torch.save(state, tmp_path / "first.pt")
    with zipfile.ZipFile(tmp_path / "first.pt") as old, zipfile.ZipFile(tmp_path / "again.pt", "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    TORCH.encrypt(tmp_path / "again.pt", CONTENT_KEY, tmp_path / "model.locked")
    whole = TORCH.load(tmp_path / "model.locked", CONTENT_KEY)
    assert all(torch.equal(whole[name], tensor) for name, tensor in state.items())
    with TORCH.load(tmp_path / "model.locked", CONTENT_KEY, lazy=True) as tensors:
        assert torch.equal(tensors["a"], state["a"]), "its place is read, and only the others are computed"
        assert_refused("model_malformed", tensors.get_tensor, "b")
