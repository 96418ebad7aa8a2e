"""torch2trt: state dicts that hold an engine. Real engines go through untouched; modules and the GPU are stand-ins."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_rtx
import torch
from cryptography.fernet import Fernet

from cryptors import CryptorFactory
from cryptors.detect import detect_type
from cryptors.model_type import ModelType
from cryptors.signature import TensorSpec
from licensing.content_key import content_key_base64
from tests.contract.case import inputs, trained_weights
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.refusals import assert_refused
from tests.standins.places import in_place_of
from tests.standins.tensorrt_standin import write_plan
from tests.standins.torch2trt_standin import torch2trt_on_gpu, write_state_dict
from tests.tensorrt_models import build_plan, write_network

TORCH2TRT = CryptorFactory.instance("torch2trt")
WIDTH = 40


def lock(model: Path) -> Path:
    TORCH2TRT.encrypt(model, CONTENT_KEY, model.with_suffix(".locked"))
    return model.with_suffix(".locked")


@pytest.fixture
def gpu() -> Iterator[None]:
    with torch2trt_on_gpu():
        yield


# Plaintext.


def test_real_engine_inside_of_a_state_dict(tmp_path: Path) -> None:
    """What comes out is what torch2trt would deserialize; the type is told from the engine."""
    plan = build_plan(write_network(tmp_path / "network.onnx", trained_weights(800)), tensorrt_rtx)
    model = write_state_dict(tmp_path / "network.pth", {}, engine=bytearray(plan))
    assert detect_type(model) is ModelType.MODEL_TORCH2TRT
    seen: list[Any] = []

    class Module(torch.nn.Module):  # type: ignore[misc]
        def load_state_dict(self, state: Any) -> None:
            seen.append(state)

    with torch2trt_on_gpu(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch2trt.TRTModule", Module)
        TORCH2TRT.load(lock(model), CONTENT_KEY)
    assert type(seen[0]["engine"]) is bytearray
    assert seen[0]["engine"] == plan
    assert (seen[0]["input_names"], seen[0]["input_flattener"]) == (["x"], {"schema": (0,), "size": 1})


def test_state_dict_is_also_one_of_pytorch(tmp_path: Path) -> None:
    """The cryptor for PyTorch gives the state dict itself, also where there is no GPU."""
    model, locked = write_state_dict(tmp_path / "network.pth", trained_weights(WIDTH)), tmp_path / "torch.locked"
    torch_cryptor = CryptorFactory.instance("torch")
    torch_cryptor.encrypt(model, CONTENT_KEY, locked)
    assert torch_cryptor.load(locked, CONTENT_KEY) == torch.load(model, weights_only=True)


@pytest.mark.usefixtures("gpu")
def test_file_of_the_old_toolkit(tmp_path: Path) -> None:
    model = write_state_dict(tmp_path / "network.pth", trained_weights(WIDTH))
    (tmp_path / "network.crt").write_bytes(Fernet(content_key_base64(CONTENT_KEY)).encrypt(model.read_bytes()))
    for call in (TORCH2TRT.decrypt, TORCH2TRT.load):
        assert call(tmp_path / "network.crt", CONTENT_KEY).engine.width == WIDTH


# Modules.


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("outputs", [["y"], ["y", "of more than the module returns"]])
def test_named_arrays(tmp_path: Path, outputs: list[str]) -> None:
    model = write_state_dict(tmp_path / "network.pth", trained_weights(WIDTH), output_names=outputs)
    module = TORCH2TRT.load(lock(model), CONTENT_KEY)
    assert not module.training
    assert TORCH2TRT.signature(module).inputs == (TensorSpec("x", "float32", (None, WIDTH)),)
    x = inputs(WIDTH)["x"]
    for named in ({"x": x}, {"arr_0": x}):
        found = TORCH2TRT.infer(module, named, "cuda:0")
        assert list(found) == (["y"] if len(outputs) == 1 else ["output"])
        assert np.array_equal(next(iter(found.values())), module.engine.compute(x))
    assert_refused("usage", TORCH2TRT.infer, module, {"images": x}, "cuda:0")


@pytest.mark.usefixtures("gpu")
def test_engine_that_tensorrt_does_not_accept(tmp_path: Path) -> None:
    """torch2trt goes on with the engine that it did not get."""
    plan = write_plan(tmp_path / "plan", trained_weights(WIDTH)).read_bytes()
    locked = lock(write_state_dict(tmp_path / "network.pth", {}, engine=bytearray(plan[:-1])))
    before = len(os.listdir("/proc/self/fd"))
    error = assert_refused("model_rejected", TORCH2TRT.load, locked, CONTENT_KEY)
    assert isinstance(error.__cause__, AttributeError)
    assert "standard error" in error.message
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("gpu")
def test_state_dict_without_names(tmp_path: Path) -> None:
    model = write_state_dict(tmp_path / "network.pth", trained_weights(WIDTH))
    state = torch.load(model, weights_only=True)
    del state["output_names"]
    torch.save(state, model)
    assert "output_names" in assert_refused("model_rejected", TORCH2TRT.load, lock(model), CONTENT_KEY).message


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("what", ["a list", "cut short", "a pickle that runs code"])
def test_what_is_no_state_dict(tmp_path: Path, what: str) -> None:
    """The vendor's own encrypt refuses some of these by what they look like; a locked model can hold anything."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "it ran"),)

    content: Any = Evil() if what == "a pickle that runs code" else [bytearray(b"ftrt")]
    torch.save(content, tmp_path / "model.pth")
    data = (tmp_path / "model.pth").read_bytes()
    data = data[: len(data) // 2] if what == "cut short" else data
    locked = write_container(tmp_path / "model.locked", {"model.pth": data}, model_type="torch2trt")
    reason = "unsafe_pickle" if isinstance(content, Evil) else "model_rejected"
    assert_refused(reason, TORCH2TRT.load, locked, CONTENT_KEY)
    assert not (tmp_path / "it ran").exists()


def test_plain_state_dict_is_no_module_of_torch2trt(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "network.pth")
    assert_refused("model_type_mismatch", lock, tmp_path / "network.pth")


# What it needs.


def test_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    locked = lock(write_state_dict(tmp_path / "network.pth", trained_weights(WIDTH)))
    for call in (TORCH2TRT.decrypt, TORCH2TRT.load):
        assert_refused("framework_missing", call, locked, CONTENT_KEY)
    assert_refused("framework_missing", TORCH2TRT.run_options, "cuda:0", None, False)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("device", ["cpu", "cuda:1", "gpu"])
def test_device_that_does_not_exist(tmp_path: Path, device: str) -> None:
    locked = lock(write_state_dict(tmp_path / "network.pth", trained_weights(WIDTH)))
    assert_refused("usage", TORCH2TRT.load, locked, CONTENT_KEY, device=device)
    assert_refused("usage", TORCH2TRT.run_options, device, None, False)


@pytest.mark.usefixtures("gpu")
def test_torch2trt_is_in_no_package_index(tmp_path: Path) -> None:
    locked = lock(write_state_dict(tmp_path / "network.pth", trained_weights(WIDTH)))
    with in_place_of({"torch2trt": None}):
        error = assert_refused("framework_missing", TORCH2TRT.load, locked, CONTENT_KEY)
    assert error.message == "this model needs torch2trt, which is not installed"
    assert error.hints == ("install torch2trt from its repository, github.com/NVIDIA-AI-IOT/torch2trt",)
    assert isinstance(error.__cause__, ModuleNotFoundError)


@pytest.mark.usefixtures("gpu")
def test_torch2trt_without_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch2trt imports it, and the hint is about what is missing."""
    locked = lock(write_state_dict(tmp_path / "network.pth", trained_weights(WIDTH)))
    (tmp_path / "torch2trt.py").write_text("import tensorrt")
    monkeypatch.syspath_prepend(tmp_path)
    with in_place_of({"tensorrt": None}), pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "torch2trt")
        error = assert_refused("framework_missing", TORCH2TRT.load, locked, CONTENT_KEY)
    assert error.message == "this model needs tensorrt, which is not installed"
    assert "weightlock[tensorrt]" in error.hints[0]
