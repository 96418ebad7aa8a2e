"""Running engines: named arrays go to the GPU and back, and nothing of them stays there. Engines are stand-ins."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptors import CryptorFactory
from cryptors.signature import TensorSpec
from licensing.errors import WeightlockError
from tests.contract.case import inputs, trained_weights
from tests.cryptors.containers import CONTENT_KEY
from tests.standins.cuda_standin import DriverStandIn
from tests.standins.places import gpu_with
from tests.standins.tensorrt_standin import write_plan

TENSORRT = CryptorFactory.instance("tensorrt")
X: Any = inputs(4)["x"]


@dataclass(frozen=True)
class Gpu:
    """A GPU's stand-in, and where plans for it go."""

    driver: DriverStandIn
    folder: Path

    def load(self, kind: str = "network") -> Any:
        plan = write_plan(self.folder / "network.engine", trained_weights(4), kind=kind)
        TENSORRT.encrypt(plan, CONTENT_KEY, self.folder / "network.locked")
        return TENSORRT.load(self.folder / "network.locked", CONTENT_KEY)


@pytest.fixture
def gpu(tmp_path: Path) -> Iterator[Gpu]:
    """Asserts in the end that no memory of the GPU and no stream is left."""
    with gpu_with() as driver:
        yield Gpu(driver, tmp_path)
        assert driver.blocks == {}
        assert driver.streams == set()


def refusal(engine: Any, **arrays: Any) -> WeightlockError:
    with pytest.raises(WeightlockError) as caught:
        TENSORRT.infer(engine, arrays, "cuda:0")
    return caught.value


@pytest.mark.parametrize("kind", ["network", "on host"])
@pytest.mark.parametrize("rows", [1, 2, 8])
def test_rows(gpu: Gpu, kind: str, rows: int) -> None:
    """Shapes vary within the plan's profile; some inputs and outputs stay in the memory of the host."""
    engine, x = gpu.load(kind), np.tile(X[:1], (rows, 1))
    for array in (x, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        found = TENSORRT.infer(engine, {"x": array}, "cuda:0")
        assert list(found) == ["y"]
        assert found["y"].dtype == np.float32
        assert found["y"].tobytes() == engine.compute(x).tobytes()
    assert TENSORRT.infer(engine, {"arr_0": x}, "cuda:0")["y"].tobytes() == engine.compute(x).tobytes()


def test_output_whose_shape_depends_on_the_data(gpu: Gpu) -> None:
    engine = gpu.load("nonzero")
    for x, places in (([0, 1, 0, 2, 3], [1, 3, 4]), ([0, 0, 0, 0], [])):
        found = TENSORRT.infer(engine, {"x": np.array(x, np.float32)}, "cuda:0")["y"]
        assert (found.dtype, found.tolist()) == (np.int64, places)


def test_signature(gpu: Gpu) -> None:
    signature = TENSORRT.signature(gpu.load())
    assert signature.inputs == (TensorSpec("x", "float32", (None, 4)),)
    assert signature.outputs == (TensorSpec("y", "float32", (None, 3)),)


def test_inputs_that_the_engine_does_not_want(gpu: Gpu) -> None:
    engine = gpu.load()
    assert refusal(engine, images=X).message == "the model has no input 'images'"
    assert refusal(engine).message == "the model's input 'x' is missing"
    assert refusal(engine, x=X.astype(np.float64)).message == "the input 'x' is float64, and the model wants float32"
    for wrong in (np.zeros((9, 4), np.float32), X[:, :1], X[0], X[:0]):
        error = refusal(engine, x=wrong)
        assert error.reason == "usage"
        assert error.hints == ("it takes [1, 4] to [8, 4]",)


def test_type_that_numpy_lacks(gpu: Gpu) -> None:
    error = refusal(gpu.load("bfloat16"), x=X)
    assert (error.reason, error.message) == ("usage", "'x' is bfloat16, which an .npz file cannot hold")


def test_run_that_fails(gpu: Gpu) -> None:
    """TensorRT tells why in its log, and of later runs nothing is blamed on an earlier one."""
    engine = gpu.load()
    error = refusal(engine, x=np.full((2, 4), np.nan, np.float32))
    assert (error.reason, "illegal memory access" in error.message) == ("model_rejected", True)
    gpu.driver.cuMemAlloc = lambda size: (gpu.driver.cuMemFree(0)[0], None)  # type: ignore[method-assign]
    error = refusal(engine, x=X)
    assert error.message == "TensorRT could not run the model: CUDA failed with CUDA_ERROR_INVALID_VALUE"
