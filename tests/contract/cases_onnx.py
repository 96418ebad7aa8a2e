"""ONNX: one file, with external data, and as a directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
from onnx import helper

from cryptors import ModelType
from tests.contract.case import Arrays, Case, inputs, trained_network
from tests.onnx_models import ExternalWriter, inside, write_graph

__all__ = ["CASES"]


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


ONNX = {"onnxruntime": "onnx"}

# Beside ours, ONNX Runtime has a copy of what it takes, and packs each matrix before it lets go of that copy: here, one
# matrix is nearly the whole model. tests/cryptors/test_onnx_memory.py measures models of several.
CASES = [
    Case(name, ModelType.MODEL_ONNX, make, read_onnx, onnx_outputs, run_onnx, ONNX, peak=3.15)
    for name, make in (
        ("onnx", make_onnx_file),
        ("onnx-external", make_onnx_external),
        ("onnx-directory", make_onnx_directory),
    )
]
