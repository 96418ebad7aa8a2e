"""Our reading of safetensors headers against the package's: what we take, it takes, and sees the same in it."""

import json
import tempfile
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
from cryptors.reader import LockedModel
from cryptors.safetensors_file import TensorPlace, read_places
from tests.cryptors.containers import CONTENT_KEY, write_container

SAFETENSORS = CryptorFactory.instance("safetensors")


def file_of(header: Any, data: bytes = b"", spaces: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * spaces
    return len(text).to_bytes(8, "little") + text + data


def places_of(folder: Path, content: bytes) -> list[TensorPlace] | None:
    locked = write_container(folder / "model.locked", {"model.safetensors": content}, model_type="safetensors")
    with LockedModel(locked, CONTENT_KEY) as model:
        return read_places(model.file())


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4), **others: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **others}


# Headers.

NAMES = st.text(max_size=3)
COUNTS = st.integers(-1, 5) | st.sampled_from([2**31, 2**63, 2**64, 1.0, True, None, "1"])
ENTRIES = st.builds(
    entry,
    st.sampled_from(["F32", "F64", "BOOL", "I8", "U64", "BF16", "F8_E4M3", "F4", "", "f32", 7, None]),
    st.lists(COUNTS, max_size=3),
    st.lists(st.integers(-1, 24), min_size=2, max_size=2) | st.lists(COUNTS, max_size=3),
)


@st.composite
def sound_headers(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    header: dict[str, Any] = {}
    end = 0
    for name in draw(st.lists(NAMES, unique=True, max_size=5)):
        dtype, width = draw(st.sampled_from([("F64", 8), ("F32", 4), ("I16", 2), ("U8", 1), ("BOOL", 1)]))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        size = int(np.prod(shape)) * width
        header[name] = entry(dtype, shape, [end, end + size])
        end += size
    return header, bytes(end)


@st.composite
def headers(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """Sound headers, and such with something changed in them."""
    header, data = draw(sound_headers())
    for _ in range(draw(st.integers(0, 2))):
        header[draw(NAMES | st.sampled_from(list(header) or ["x"]))] = draw(ENTRIES)
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.dictionaries(NAMES, NAMES) | st.just({"a": 1}) | st.none() | st.just([]))
    return header, data + draw(st.sampled_from([b"", b"", b"", b"\0"]))


@given(headers(), st.integers(0, 9))
@settings(max_examples=400, deadline=None)
def test_headers_that_we_take(header: tuple[dict[str, Any], bytes], spaces: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        content = file_of(*header, spaces=spaces)
        places = places_of(Path(name), content)
        if places is None:
            return
        (Path(name) / "plain").write_bytes(content)
        with safetensors.safe_open(str(Path(name) / "plain"), "np") as theirs:
            assert {place.name for place in places} == set(theirs.keys())
            for place in places:
                part = theirs.get_slice(place.name)
                assert (list(place.shape), place.dtype) == (part.get_shape(), part.get_dtype())


@given(sound_headers())
@settings(max_examples=100, deadline=None)
def test_sound_headers_are_taken_where_data_is_aligned(header: tuple[dict[str, Any], bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        members, data = header
        aligned = all(value["data_offsets"][0] % 8 == 0 for value in members.values())
        assert not aligned or places_of(Path(name), file_of(members, data)) is not None


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": entry(), "b": entry(offsets=(8, 12))}, bytes(12)),
        ({"a": entry(), "b": entry()}, bytes(4)),
        ({"a": entry()}, bytes(8)),
        ({"a": entry(offsets=(4, 8))}, bytes(8)),
        ({"a": entry(shape=(2,))}, bytes(4)),
        ({"a": entry(shape=(1.0,))}, bytes(4)),
        ({"a": entry(shape=(True,))}, bytes(4)),
        ({"a": entry(dtype="F4", shape=(8,))}, bytes(4)),
        ({"a": entry(more=1)}, bytes(4)),
        ({"a": entry(), "__metadata__": {"x": 1}}, bytes(4)),
        ({"a": entry(), "__metadata__": None}, bytes(4)),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}', bytes(4)),
        (b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
        ([], b""),
        (b"[" * 100_000, b""),
        (b"\xff", b""),
        (b"", b""),
    ],
)
def test_headers_that_we_leave_to_the_package(tmp_path: Path, header: Any, data: bytes) -> None:
    assert places_of(tmp_path, file_of(header, data)) is None


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\xff" * 8, (2**40).to_bytes(8, "little") + b"{}", bytes(8)])
def test_lengths_that_cannot_be(tmp_path: Path, content: bytes) -> None:
    assert places_of(tmp_path, content) is None


# Loading what the package takes and we leave to it.


def test_tensor_at_an_odd_place(tmp_path: Path) -> None:
    header = {"a": entry("U8", (1,), (0, 1)), "b": entry("F32", (2,), (1, 9))}
    content = file_of(header, b"\7" + np.array([1.5, -2], np.float32).tobytes())
    locked = write_container(tmp_path / "model.locked", {"model.safetensors": content}, model_type="safetensors")
    for framework in ("pt", "np"):
        tensors = SAFETENSORS.load(locked, CONTENT_KEY, framework=framework)
        assert (tensors["a"].tolist(), tensors["b"].tolist()) == ([7], [1.5, -2])


def test_header_whose_length_is_odd(tmp_path: Path) -> None:
    content = file_of({"a": entry("F64", (1,), (0, 8))}, np.array([1.5]).tobytes(), spaces=0)
    content = file_of({"a": entry("F64", (1,), (0, 8))}, np.array([1.5]).tobytes(), spaces=8 - len(content) % 8 + 3)
    locked = write_container(tmp_path / "model.locked", {"model.safetensors": content}, model_type="safetensors")
    tensor = SAFETENSORS.load(locked, CONTENT_KEY)["a"]
    assert tensor.tolist() == [1.5]
    assert tensor.data_ptr() % 8 == 0


# No copies.


def test_tensors_are_parts_of_one_memory(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.randn(1000), "b": torch.randn(1000)}, tmp_path / "m.safetensors")
    SAFETENSORS.encrypt(tmp_path / "m.safetensors", CONTENT_KEY, tmp_path / "model.locked")
    tensors = SAFETENSORS.load(tmp_path / "model.locked", CONTENT_KEY)
    assert abs(tensors["b"].data_ptr() - tensors["a"].data_ptr()) == 4000
    assert tensors["a"].untyped_storage().nbytes() == 4000, "saving one tensor does not save them all"
    arrays = SAFETENSORS.load(tmp_path / "model.locked", CONTENT_KEY, framework="np")
    assert abs(arrays["b"].ctypes.data - arrays["a"].ctypes.data) == 4000
