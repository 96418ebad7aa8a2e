"""The kinds of models that the suite tries."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import safetensors.numpy
import safetensors.torch
import torch
from onnx import helper

from cryptors import ModelType
from tests.contract import networks
from tests.onnx_models import ExternalWriter, inside, write_graph

__all__ = ["CASES", "Arrays", "Case", "inputs", "trained_network"]

Arrays = dict[str, Any]


def no_arguments(width: int) -> tuple[str, ...]:
    """Most models run as they are."""
    return ()


@dataclass(frozen=True)
class Case:
    """One kind of model.

    Attributes:
        name: as the tests' names show it.
        model_type: its type.
        make: writes the plaintext of a network of some width into an empty folder, and returns what a vendor would
            give to `encrypt`.
        read: opens the plaintext with its framework alone.
        arrays: turns what `read`, `decrypt` and `load` return into arrays to compare: outputs, or the weights
            themselves where there is nothing to run.
        run: the outputs of the plaintext for `inputs`, by the names that `weightlock run` gives them.
        options: what `decrypt` and `load` need beside a key.
        run_arguments: what `weightlock run` needs for a network of some width beside a license.
        needs: the modules without which nothing can be loaded, each with the extra that installs it.
    """

    name: str
    model_type: ModelType
    make: Callable[[Path, int], Path]
    read: Callable[[Path], Any]
    arrays: Callable[[Any], Arrays]
    run: Callable[[Path], Arrays]
    needs: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    run_arguments: Callable[[int], tuple[str, ...]] = no_arguments


def inputs(width: int) -> Arrays:
    """Returns two rows of numbers."""
    return {"x": np.random.default_rng(1).standard_normal((2, width)).astype(np.float32)}


def trained_network(width: int) -> Any:
    """Returns the network, with weights that are always the same and are not those that `--architecture` makes."""
    generator = torch.Generator().manual_seed(7)
    network = networks.Network(width).eval()
    state = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in network.state_dict().items()}
    network.load_state_dict(state)
    return network


# PyTorch.


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
    name = "tiny_network" if width == networks.TINY else "wide_network"
    return ("--architecture", f"{networks.__file__}:{name}")


def allow_pickle(width: int) -> tuple[str, ...]:
    return ("--allow-pickle",)


# Safetensors.


def make_safetensors(folder: Path, width: int) -> Path:
    safetensors.torch.save_file(trained_network(width).state_dict(), folder / "network.safetensors")
    return folder / "network.safetensors"


def make_sharded(folder: Path, width: int) -> Path:
    """Writes a directory as model hubs have them: two shards, their index, and a configuration."""
    state, model = trained_network(width).state_dict(), folder / "network"
    model.mkdir()
    weight_map = {}
    for number, layer in enumerate(("first", "last"), start=1):
        shard = f"model-0000{number}-of-00002.safetensors"
        safetensors.torch.save_file({name: state[name] for name in state if name.startswith(layer)}, model / shard)
        weight_map.update({name: shard for name in state if name.startswith(layer)})
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (model / "config.json").write_text("{}")
    return model


def read_safetensors(path: Path) -> Any:
    shards = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    return {name: tensor for shard in shards for name, tensor in safetensors.torch.load_file(shard).items()}


def safetensors_outputs(path: Path) -> Arrays:
    return state_outputs(read_safetensors(path))


# ONNX.


def make_onnx(path: Path, width: int, tensor: Callable[[str, Any], Any]) -> Path:
    """Writes the network, its weights made into tensors by `tensor`."""
    state = trained_network(width).state_dict()
    nodes = [
        helper.make_node("Gemm", ["x", "first.weight", "first.bias"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "last.weight", "last.bias"], ["y"], transB=1),
    ]
    initializers = [tensor(name, value.numpy()) for name, value in state.items()]
    return write_graph(path, nodes, initializers, inputs(width), (1, [2, 3]))


def make_onnx_file(folder: Path, width: int) -> Path:
    return make_onnx(folder / "network.onnx", width, inside)


def make_onnx_external(folder: Path, width: int) -> Path:
    return make_onnx(folder / "network.onnx", width, ExternalWriter(folder))


def make_onnx_directory(folder: Path, width: int) -> Path:
    """Writes a directory whose external data lies in a directory of its own, beside a file that is not the model's."""
    model = folder / "network"
    make_onnx(model / "network.onnx", width, ExternalWriter(model, "data/weights.bin"))
    (model / "tokenizer.json").write_text("{}")
    return model


def read_onnx(path: Path) -> Any:
    return onnxruntime.InferenceSession(path / "network.onnx" if path.is_dir() else path)


def onnx_outputs(model: Any) -> Arrays:
    session = onnxruntime.InferenceSession(model) if isinstance(model, bytes) else model
    width = session.get_inputs()[0].shape[1]
    return dict(zip(["y"], session.run(None, inputs(width)), strict=True))


def run_onnx(path: Path) -> Arrays:
    return onnx_outputs(read_onnx(path))


TORCH = {"torch": "torch"}
SAFETENSORS = {"safetensors": "safetensors"}
ONNX = {"onnxruntime": "onnx"}
ONNX_EXTERNAL = {**ONNX, "onnx": "onnx"}
PT, NP = {"framework": "pt"}, {"framework": "np"}

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
        lambda path: module_outputs(torch.jit.load(path)), TORCH,
    ),
    Case("onnx", ModelType.MODEL_ONNX, make_onnx_file, read_onnx, onnx_outputs, run_onnx, ONNX),
    Case("onnx-external", ModelType.MODEL_ONNX, make_onnx_external, read_onnx, onnx_outputs, run_onnx, ONNX_EXTERNAL),
    Case("onnx-directory", ModelType.MODEL_ONNX, make_onnx_directory, read_onnx, onnx_outputs, run_onnx, ONNX_EXTERNAL),
    *(
        Case(
            f"{name}-{framework['framework']}", ModelType.MODEL_SAFETENSORS, make, read_safetensors, weights,
            safetensors_outputs, {**SAFETENSORS, **backend}, framework, architecture,
        )
        for name, make in (("safetensors", make_safetensors), ("safetensors-sharded", make_sharded))
        for framework, backend in ((PT, TORCH), (NP, {"numpy": "safetensors"}))
    ),
]  # fmt: skip
