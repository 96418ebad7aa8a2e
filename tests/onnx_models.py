"""ONNX models for tests, with their weights inside or in files beside them, written without any exporter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

__all__ = ["ExternalWriter", "inside", "write_graph"]

# ONNX Runtime 1.24 reads both; the newest that the package onnx would choose may be too new for it.
OPSET, IR_VERSION = 17, 8


class ExternalWriter:
    """Puts tensors into one file of external data.

    Args:
        folder: of the `.onnx` file.
        location: the file as the tensors name it.
    """

    def __init__(self, folder: Path, location: str = "weights.bin") -> None:
        self._path = folder / location
        self._location = location
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(b"")

    def __call__(self, name: str, array: Any) -> Any:
        """Writes an array behind those that are there, aligned as exporters do it, and returns its tensor."""
        offset = -(-self._path.stat().st_size // 64) * 64
        with open(self._path, "r+b") as file:
            file.seek(offset)
            file.write(array.tobytes())
        data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        return self.tensor(name, data_type, array.shape, offset=str(offset), length=str(array.nbytes))

    def tensor(self, name: str, data_type: int, dims: Any, **members: str) -> Any:
        """Returns a tensor that names this file, and whatever else of it a test says."""
        tensor = TensorProto(name=name, data_type=data_type, dims=dims, data_location=TensorProto.EXTERNAL)
        for key, value in {"location": self._location, **members}.items():
            tensor.external_data.add(key=key, value=value)
        return tensor


def inside(name: str, array: Any) -> Any:
    """Returns a tensor that holds its data itself."""
    return onnx.numpy_helper.from_array(array, name)


def write_graph(
    path: Path,
    nodes: list[Any],
    initializers: list[Any],
    inputs: Mapping[str, Any],
    output: tuple[int, list[Any]],
    versions: tuple[int, int] = (OPSET, IR_VERSION),
) -> Path:
    """Writes a model with one output, `y`.

    Args:
        path: the `.onnx` file.
        nodes, initializers: of the graph.
        inputs: for each input an array of its type and shape.
        output: the type and the shape of `y`.
        versions: of the operators and of the format, where a model needs newer ones.
    """
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.asarray(array).dtype), np.shape(array))
        for name, array in inputs.items()
    ]
    graph = helper.make_graph(nodes, "test", values, [helper.make_tensor_value_info("y", *output)], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", versions[0])], ir_version=versions[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path
