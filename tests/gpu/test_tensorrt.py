"""The real TensorRT on a real GPU: plans that are built here, locked, and run from memory."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cryptors import CryptorFactory, load_model
from cryptors.signature import TensorSpec
from licensing.errors import WeightlockError
from tests.contract.case import trained_network, trained_weights
from tests.cryptors.containers import CONTENT_KEY
from tests.gpu.box import GpuBox
from tests.tensorrt_models import build_plan, write_network

pytestmark = pytest.mark.gpu

TENSORRT = CryptorFactory.instance("tensorrt")
WIDTH = 1800
WEIGHTS = trained_weights(WIDTH)
X: Any = np.random.default_rng(3).standard_normal((5, WIDTH)).astype(np.float32)


def expected(x: Any) -> Any:
    """Returns the network's output in double precision."""
    first, last = ((WEIGHTS[f"{name}.weight"].astype(float), WEIGHTS[f"{name}.bias"]) for name in ("first", "last"))
    return np.maximum(x @ first[0].T + first[1], 0) @ last[0].T + last[1]


def assert_close(found: Any, wanted: Any) -> None:
    """TensorRT multiplies with ten bits of mantissa unless it is told otherwise."""
    assert (found.dtype, found.shape) == (np.float32, wanted.shape)
    assert np.abs(found - wanted).max() <= 1e-2 * np.abs(wanted).max()


@pytest.fixture(scope="module", params=["tensorrt_rtx", "tensorrt"])
def plan(request: pytest.FixtureRequest, box: GpuBox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a plan of several segments, made by each of the two that is installed."""
    module = pytest.importorskip(request.param)
    folder = tmp_path_factory.mktemp("plan")
    path = folder / "network.engine"
    path.write_bytes(build_plan(write_network(folder / "network.onnx", WEIGHTS), module))
    return path


def lock(plan: Path, folder: Path) -> Path:
    TENSORRT.encrypt(plan, CONTENT_KEY, folder / "network.locked")
    return folder / "network.locked"


def test_run_with_a_license(plan: Path, box: GpuBox, tmp_path: Path) -> None:
    model = tmp_path / plan.name
    model.write_bytes(plan.read_bytes())
    found = box.run(model, {"x": X})
    assert list(found) == ["y"]
    assert_close(found["y"], expected(X))


@pytest.mark.parametrize("how", ["in chunks", "from memory"])
def test_load(plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Many small chunks, or all at once as for TensorRT before 10.7; then the memory is wiped and the engine runs."""
    monkeypatch.setattr("cryptors.tensorrt_stream.CHUNK_BYTES", 100_000)
    if how == "from memory":
        name = "tensorrt_rtx" if plan.read_bytes()[:4] == b"vtrt" else "tensorrt"
        monkeypatch.delattr(f"{name}.IStreamReaderV2")
    engine = TENSORRT.load(lock(plan, tmp_path), CONTENT_KEY)
    gc.collect()
    assert TENSORRT.signature(engine).inputs == (TensorSpec("x", "float32", (None, WIDTH)),)
    assert TENSORRT.signature(engine).outputs == (TensorSpec("y", "float32", (None, 3)),)
    for rows in (1, 5, 2):
        assert_close(TENSORRT.infer(engine, {"x": X[:rows]}, "cuda:0")["y"], expected(X[:rows]))
    with pytest.raises(WeightlockError) as refusal:
        TENSORRT.infer(engine, {"x": np.zeros((9, WIDTH), np.float32)}, "cuda:0")
    assert refusal.value.hints == (f"it takes [1, {WIDTH}] to [8, {WIDTH}]",)


def test_engines_outlive_each_other(plan: Path, tmp_path: Path) -> None:
    locked = lock(plan, tmp_path)
    first, second = TENSORRT.load(locked, CONTENT_KEY), load_model(locked, crypt_key=CONTENT_KEY)
    del first
    gc.collect()
    assert_close(TENSORRT.infer(second, {"x": X}, "cuda:0")["y"], expected(X))


def test_damaged_model(plan: Path, tmp_path: Path) -> None:
    """What was changed since it was locked never reaches the GPU as it is, and the process lives on."""
    locked = lock(plan, tmp_path)
    data = bytearray(locked.read_bytes())
    data[len(data) // 2] ^= 1
    locked.write_bytes(data)
    with pytest.raises(WeightlockError) as refusal:
        TENSORRT.load(locked, CONTENT_KEY)
    assert refusal.value.reason == "model_damaged"


def test_plan_that_is_cut_short(plan: Path, tmp_path: Path) -> None:
    model = tmp_path / "short.engine"
    model.write_bytes(plan.read_bytes()[:-1000])
    with pytest.raises(WeightlockError) as refusal:
        TENSORRT.load(lock(model, tmp_path), CONTENT_KEY)
    assert refusal.value.reason in ("model_rejected", "framework_unsuitable")
    assert str(refusal.value.__cause__)


def test_torch2trt(box: GpuBox, tmp_path: Path) -> None:
    torch2trt = pytest.importorskip("torch2trt")
    network, x = trained_network(WIDTH).cuda(), torch.from_numpy(X).cuda()
    module = torch2trt.torch2trt(network, [x], input_names=["x"], output_names=["y"])
    torch.save(module.state_dict(), tmp_path / "network.pth")
    assert_close(box.run(tmp_path / "network.pth", {"x": X})["y"], expected(X))
