"""PyTorch's own forms: state dict, safetensors, TorchScript and torch.export."""

import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from cryptors import ModelType
from tests.real_models.kind import Kind, RealModel
from tests.real_models.minilm import MINILM
from tests.real_models.resnet18 import RESNET18
from tools.demo_model import find_minilm

__all__ = ["KINDS", "tensors"]


def tensors(model: RealModel) -> dict[str, Any]:
    """Returns the model's inputs for PyTorch."""
    return {name: torch.from_numpy(array) for name, array in model.inputs().items()}


def run_module(model: RealModel, module: Any) -> Any:
    with torch.inference_mode():
        return module(**tensors(model)).numpy()


def fresh_module(model: RealModel, state: dict[str, Any]) -> Any:
    """Returns a module of the model's architecture with these weights, which stay where they are in memory.

    Copies would lie elsewhere, and PyTorch computes the last bit otherwise for weights that are aligned otherwise.
    """
    with torch.device("meta"):
        module = type(model.module())().eval()
    module.load_state_dict(state, assign=True)
    return module


def make_state_dict(model: RealModel, folder: Path) -> Path:
    torch.save(model.module().state_dict(), folder / "model.pth")
    return folder / "model.pth"


def make_safetensors(model: RealModel, folder: Path) -> Path:
    if model is MINILM:  # As it was published.
        return Path(shutil.copy(find_minilm() / "model.safetensors", folder))
    safetensors.torch.save_file(model.module().state_dict(), folder / "model.safetensors")
    return folder / "model.safetensors"


def make_torchscript(model: RealModel, folder: Path) -> Path:
    # The check would trace once more and compare; comparing is what the test does.
    traced = torch.jit.trace(model.module(), example_kwarg_inputs=tensors(model), check_trace=False)
    torch.jit.save(traced, folder / "model.ts")
    return folder / "model.ts"


def make_program(model: RealModel, folder: Path) -> Path:
    torch.export.save(torch.export.export(model.module(), (), tensors(model)), folder / "model.pt2")
    return folder / "model.pt2"


def kinds(model: RealModel) -> list[Kind]:
    """Returns the forms of one model."""

    def run(module: Any) -> Any:
        return run_module(model, module)

    architecture = {"architecture": model.architecture}
    return [
        Kind(
            model, "torch", ModelType.MODEL_TORCH, lambda folder: make_state_dict(model, folder),
            lambda path: fresh_module(model, torch.load(path)), run, model.inputs, architecture,
        ),
        Kind(
            model, "safetensors", ModelType.MODEL_SAFETENSORS, lambda folder: make_safetensors(model, folder),
            lambda path: fresh_module(model, safetensors.torch.load_file(path)), run, model.inputs, architecture,
        ),
        Kind(
            model, "torchscript", ModelType.MODEL_TORCHSCRIPT, lambda folder: make_torchscript(model, folder),
            torch.jit.load, run, model.inputs,
        ),
        Kind(
            model, "torch_export", ModelType.MODEL_TORCH_EXPORT, lambda folder: make_program(model, folder),
            torch.export.load, lambda program: run(program.module()), model.inputs,
        ),
    ]  # fmt: skip


KINDS = [*kinds(RESNET18), *kinds(MINILM)]
