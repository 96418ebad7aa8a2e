"""Loading through the ring of buffers, with the CPU standing in for a GPU: the same tensors, in bounded host memory."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from cryptors import CryptorFactory, device_ring, read_header, safetensors_load, torch_file
from cryptors.errors import ModelDamagedError, ModelRejectedError
from cryptors.memory import PlaintextMemory
from cryptors.reader import LockedModel
from cryptors.safetensors_file import read_places
from cryptors.stream import SEGMENT_BYTES
from cryptors.torch_archive import Archive
from tests.cryptors.containers import CONTENT_KEY

CPU = torch.device("cpu")
STATE: dict[str, Any] = {
    "embedding": torch.randn(1500, 1000),
    "scalar": torch.tensor(3.5),
    "empty": torch.empty(0, 3),
    "half": torch.randn(300, 700).half(),
    **{f"layer{number}": torch.full((70_000,), float(number)) for number in range(40)},
}


@pytest.fixture
def locked(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The state dict, as the type of model that the test names."""
    (torch.save if request.param == "torch" else safetensors.torch.save_file)(STATE, tmp_path / "model")
    CryptorFactory.instance(request.param).encrypt(tmp_path / "model", CONTENT_KEY, tmp_path / "model.locked")
    return tmp_path / "model.locked"


def load(path: Path) -> dict[str, Any]:
    with LockedModel(path, CONTENT_KEY, threads=2) as model:
        file = model.file()
        if model.header.model_type == "torch":
            archive = Archive(file.read_at, file.size)
            loaded: dict[str, Any] = torch_file.load_to_device(torch, file, archive, CPU, weights_only=True)
        else:
            places = read_places(file)
            assert places is not None
            loaded = safetensors_load.load_to_device(torch, file, places, CPU)
        model.verify_rest()
    return loaded


@pytest.mark.parametrize("locked", ["torch", "safetensors"], indirect=True)
def test_same_tensors(locked: Path) -> None:
    loaded = load(locked)
    assert loaded.keys() == STATE.keys()
    for name, expected in STATE.items():
        assert (loaded[name].dtype, loaded[name].shape) == (expected.dtype, expected.shape)
        assert torch.equal(loaded[name], expected)


@pytest.mark.parametrize("locked", ["torch", "safetensors"], indirect=True)
def test_memory_of_the_host(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All plaintext on the host is the ring, and the few segments that are kept for small reads."""
    sizes: list[int] = []

    class Counted(PlaintextMemory):
        def __init__(self, size: int) -> None:
            sizes.append(size)
            super().__init__(size)

    monkeypatch.setattr(device_ring, "PlaintextMemory", Counted)
    monkeypatch.setattr(device_ring, "SPARE_SLOTS", 1)
    monkeypatch.setattr(torch_file, "PlaintextMemory", None)
    monkeypatch.setattr(safetensors_load, "PlaintextMemory", None)
    tracemalloc.start()
    try:
        loaded = load(locked)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(loaded) == len(STATE)
    assert sum(sizes) < locked.stat().st_size + 12 * SEGMENT_BYTES
    assert len(sizes) == 1
    assert peak < 4 * SEGMENT_BYTES, "Python's own memory: buffers for ciphertext"


@pytest.mark.parametrize("locked", ["torch", "safetensors"], indirect=True)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_damage(locked: Path, part: float) -> None:
    content = bytearray(locked.read_bytes())
    content[int(len(content) * part)] ^= 1
    locked.write_bytes(content)
    with pytest.raises(ModelDamagedError):
        load(locked)


@pytest.mark.parametrize(
    ("locked", "option"), [("torch", "map_location"), ("safetensors", "device")], indirect=["locked"]
)
def test_gpu_is_where_the_ring_is_used(locked: Path, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cryptors do with the name of a GPU, where PyTorch says that it has one."""
    places: list[Any] = []

    class NoRing:
        def __init__(self, file: Any, device: Any) -> None:
            places.append(str(device))
            raise RuntimeError("no GPU here")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch_file, "DeviceRing", NoRing)
    monkeypatch.setattr(safetensors_load, "DeviceRing", NoRing)
    cryptor = CryptorFactory.instance(read_header(locked).model_type)
    for name in ("cuda:1", torch.device("cuda:1")):
        options: dict[str, Any] = {option: name}
        with pytest.raises(ModelRejectedError, match="no GPU here"):
            cryptor.load(locked, CONTENT_KEY, **options)
    assert places == ["cuda:1", "cuda:1"]
