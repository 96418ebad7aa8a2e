"""PyTorch and TorchScript."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from cryptors import ModelType
from tests.contract import networks
from tests.contract.case import Arrays, Case, inputs, trained_network

__all__ = ["CASES", "TORCH", "architecture", "module_outputs", "state_outputs", "weights"]


def make_state_dict(folder: Path, width: int) -> Path:
    torch.save(trained_network(width).state_dict(), folder / "network.pth")
    return folder / "network.pth"


def make_module(folder: Path, width: int) -> Path:
    torch.save(trained_network(width), folder / "network.pt")
    return folder / "network.pt"


def make_torchscript(folder: Path, width: int) -> Path:
    torch.jit.save(torch.jit.script(trained_network(width)), folder / "network.ts")
    return folder / "network.ts"


def read_module(path: Path) -> Any:
    return torch.load(path, weights_only=False)


def module_outputs(module: Any) -> Arrays:
    width = module.first.weight.shape[1]
    with torch.inference_mode():
        return {"output": module(torch.from_numpy(inputs(width)["x"])).numpy()}


def state_outputs(state: dict[str, Any]) -> Arrays:
    network = networks.Network(state["first.weight"].shape[1]).eval()
    network.load_state_dict(state, assign=True)
    return module_outputs(network)


def weights(state: dict[str, Any]) -> Arrays:
    return {name: np.asarray(tensor) for name, tensor in state.items()}


def architecture(width: int) -> tuple[str, ...]:
    names = {networks.TINY: "tiny_network", networks.WIDE: "wide_network", networks.PATTERNED: "patterned_network"}
    return ("--architecture", f"{networks.__file__}:{names[width]}")


def allow_pickle(width: int) -> tuple[str, ...]:
    return ("--allow-pickle",)


TORCH = {"torch": "torch"}

CASES = [
    Case(
        "torch-state-dict", ModelType.MODEL_TORCH, make_state_dict, torch.load, weights,
        lambda path: state_outputs(torch.load(path)), TORCH, run_arguments=architecture,
    ),
    Case(
        "torch-module", ModelType.MODEL_TORCH, make_module, read_module, module_outputs,
        lambda path: module_outputs(read_module(path)), TORCH, {"weights_only": False}, allow_pickle,
    ),
    Case(
        "torchscript", ModelType.MODEL_TORCHSCRIPT, make_torchscript, torch.jit.load, module_outputs,
        lambda path: module_outputs(torch.jit.load(path)), TORCH, peak=2.1,  # It copies what it finds in the file.
    ),
]  # fmt: skip
