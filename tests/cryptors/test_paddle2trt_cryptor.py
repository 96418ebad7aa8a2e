"""Paddle-TRT. Paddle here has no TensorRT: with a stand-in that records what is set, and without.

What TensorRT makes of it has to be seen on a GPU.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cryptors import CryptorFactory
from cryptors.paddle_inference import import_paddle
from cryptors.reader import read_header
from licensing.errors import WeightlockError
from tests.cryptors.containers import CONTENT_KEY
from tests.cryptors.paddle_setting import assert_refused, lock, outputs
from tests.paddle_models import predictor
from tests.standins.paddle_tensorrt_standin import paddle_tensorrt

pytestmark = pytest.mark.usefixtures("memory_only")

TRT = CryptorFactory.instance("paddle2trt")


@pytest.fixture
def locked(paddle_written: Path, tmp_path: Path) -> Path:
    shutil.copytree(paddle_written / "pdmodel", tmp_path / "model")
    return lock(tmp_path / "model" / "m.pdmodel", TRT)


@pytest.fixture
def settings() -> Iterator[list[dict[str, Any]]]:
    """What was set for each predictor, with TensorRT standing in."""
    with paddle_tensorrt() as recorded:
        recorded.clear()
        yield recorded


def test_settings(locked: Path, settings: list[dict[str, Any]]) -> None:
    precision = import_paddle().inference.PrecisionType
    expected = outputs(predictor(locked.with_name("m.pdmodel")))
    settings.clear()
    assert outputs(TRT.load(locked, CONTENT_KEY)).tobytes() == expected.tobytes()
    (found,) = settings
    assert found["enable_use_gpu"][1] == 0
    assert found["enable_tensorrt_engine"] == {
        "workspace_size": 2**30,
        "max_batch_size": 1,
        "min_subgraph_size": 3,
        "precision_mode": precision.Float32,
        "use_static": False,
        "use_calib_mode": False,
    }
    assert "set_trt_dynamic_shape_info" not in found


def test_other_settings(locked: Path) -> None:
    precision = import_paddle().inference.PrecisionType
    with paddle_tensorrt(gpus=2) as settings:
        for name, value in {"half": precision.Half, "int8": precision.Int8, "bfloat16": precision.Bfloat16}.items():
            settings.clear()
            TRT.load(
                locked, CONTENT_KEY, device="cuda:1", precision=name, workspace_size=1, max_batch_size=2,
                min_subgraph_size=4, dynamic_shapes={"x": ((1, 4), (8, 4), (2, 4))},
            )  # fmt: skip
            (found,) = settings
            assert found["enable_use_gpu"][1] == 1
            assert found["set_trt_dynamic_shape_info"] == ({"x": [1, 4]}, {"x": [8, 4]}, {"x": [2, 4]})
            engine = found["enable_tensorrt_engine"]
            assert engine["precision_mode"] is value or engine["precision_mode"] == value
            assert (engine["workspace_size"], engine["max_batch_size"], engine["min_subgraph_size"]) == (1, 2, 4)
            assert engine["use_static"] is False


def test_nothing_lets_paddle_write_engines(locked: Path, settings: list[dict[str, Any]]) -> None:
    for option in ("use_static", "use_calib_mode"):
        assert_refused("usage", TRT.load, locked, CONTENT_KEY, **{option: True})
    assert settings == []


def test_precision_that_does_not_exist(locked: Path, settings: list[dict[str, Any]]) -> None:
    assert_refused("usage", TRT.load, locked, CONTENT_KEY, precision="fp4")
    assert settings == []


def test_paddle_without_tensorrt(locked: Path) -> None:
    """The build for CPUs says so itself; nothing is decrypted before."""
    for call in (load_without_reading, on_command_line):
        error = assert_refused("framework_unsuitable", call, locked, "cuda:0")
        assert error.message == "this Paddle was built without TensorRT"


def test_paddle_that_does_not_find_tensorrt(locked: Path) -> None:
    with paddle_tensorrt(found=(0, 0, 0)):
        error = assert_refused("framework_unsuitable", load_without_reading, locked, "cuda:0")
    assert error.hints == ("install TensorRT 8.6.1",)


def test_gpus(locked: Path, settings: list[dict[str, Any]]) -> None:
    for call in (load_without_reading, on_command_line):
        error = assert_refused("usage", call, locked, "cpu")
        assert error.message == "Paddle-TRT runs on GPUs, not on the CPU"
        assert_refused("usage", call, locked, "cuda:1")
        assert_refused("usage", call, locked, "gpu")
    assert TRT.run_options("cuda:0", None, False) == {"device": "cuda:0"}
    assert_refused("usage", TRT.run_options, "cuda:0", "net.py:net", False)
    assert_refused("usage", TRT.run_options, "cuda:0", None, True)
    assert settings == []


def load_without_reading(locked: Path, device: str) -> Any:
    """Loads a model, which must be refused before its first byte is decrypted beside the index."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryptors.reader.ModelFile.read_all_into", lambda file, target: pytest.fail("it was decrypted"))
        return TRT.load(locked, CONTENT_KEY, device=device)


def on_command_line(locked: Path, device: str) -> Any:
    return TRT.run_options(device, None, False)


@pytest.mark.parametrize("name", ["json", "pdparams"])
def test_models_that_tensorrt_would_not_touch(paddle_written: Path, tmp_path: Path, name: str) -> None:
    """Paddle runs programs of its own third format without TensorRT, whatever it is told."""
    shutil.copytree(paddle_written / name, tmp_path / "model")
    for model in (tmp_path / "model" / f"m.{name}", tmp_path / "model"):
        with pytest.raises(WeightlockError) as caught:
            TRT.encrypt(model, CONTENT_KEY, tmp_path / "model.locked")
        assert caught.value.reason == "model_type_mismatch"


def test_directory(paddle_written: Path, tmp_path: Path) -> None:
    shutil.copytree(paddle_written / "pdmodel", tmp_path / "model")
    TRT.encrypt(tmp_path / "model", CONTENT_KEY, tmp_path / "model.locked")
    assert read_header(tmp_path / "model.locked").model_type == "paddle2trt"
