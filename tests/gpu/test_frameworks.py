"""PyTorch and ONNX Runtime on a real GPU, where they were built for it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch

from cryptors import CryptorFactory
from tests.contract import networks
from tests.contract.case import inputs, trained_network, trained_weights
from tests.cryptors.containers import CONTENT_KEY
from tests.gpu.box import GpuBox
from tests.tensorrt_models import write_network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

X: Any = inputs(networks.WIDE)
ARCHITECTURE = ("--architecture", f"{networks.__file__}:wide_network")


def expected() -> Any:
    with torch.inference_mode():
        return trained_network(networks.WIDE)(torch.from_numpy(X["x"])).numpy()


def assert_close(found: Any) -> None:
    assert np.abs(found - expected()).max() <= 1e-2 * np.abs(expected()).max()


def need_torch_with_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch finds no GPU")


@pytest.mark.parametrize("kind", ["torch", "torchscript", "safetensors"])
def test_run_pytorch(box: GpuBox, tmp_path: Path, kind: str) -> None:
    need_torch_with_cuda()
    network, model = trained_network(networks.WIDE), tmp_path / f"network.{kind}"
    if kind == "torch":
        torch.save(network.state_dict(), model)
    elif kind == "safetensors":
        safetensors.torch.save_file(network.state_dict(), model)
    else:
        torch.jit.save(torch.jit.script(network), model)
    found = box.run(model, X, *(() if kind == "torchscript" else ARCHITECTURE))
    assert_close(found["output"])


def test_tensors_go_to_the_gpu(box: GpuBox, tmp_path: Path) -> None:
    """Bit for bit, as PyTorch itself takes them there."""
    need_torch_with_cuda()
    cryptor, state = CryptorFactory.instance("torch"), trained_network(networks.WIDE).state_dict()
    torch.save(state, tmp_path / "network.pth")
    cryptor.encrypt(tmp_path / "network.pth", CONTENT_KEY, tmp_path / "network.locked")
    loaded = cryptor.load(tmp_path / "network.locked", CONTENT_KEY, map_location="cuda:0")
    for name, tensor in state.items():
        assert loaded[name].device == torch.device("cuda:0")
        assert torch.equal(loaded[name].cpu(), tensor)


def test_run_onnx_runtime(box: GpuBox, tmp_path: Path) -> None:
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime was built without CUDA")
    model = write_network(tmp_path / "network.onnx", trained_weights(networks.WIDE))
    assert_close(box.run(model, X)["y"])
