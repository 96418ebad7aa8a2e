"""Models of each type, made from the random tensors; each with the calls that its framework's users know.

These run in processes of their own: the frameworks' memory goes with them.
"""

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptors.frameworks import import_framework
from tools.bench.random_model import COLUMNS, read_layout

__all__ = ["MAKERS", "TINY_ROWS"]

TINY_ROWS = 512
"""Of the square matrix in a model of 1 MiB, whose first inference is timed."""


def arrays(base: Path) -> Iterator[tuple[str, Any]]:
    """Gives the tensors of the random model as NumPy arrays, one after another, mapped from its file."""
    numpy = import_framework("numpy", "torch")
    with open(base, "rb") as file:
        # A private mapping: frameworks warn about, or refuse, memory that they could not write to.
        data = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    for place in read_layout(base):
        array = numpy.frombuffer(data, dtype=numpy.float32, count=place.size // 4, offset=place.offset)
        yield place.name, array.reshape(place.rows, COLUMNS)


def make_torch(base: Path, output: Path) -> None:
    """Writes a state dict."""
    torch = import_framework("torch", "torch")
    torch.save({name: torch.from_numpy(array) for name, array in arrays(base)}, output)


def make_torchscript(base: Path, output: Path) -> None:
    """Writes a scripted module with one parameter for each tensor."""
    torch = import_framework("torch", "torch")
    module = torch.nn.ParameterList([torch.from_numpy(array) for _, array in arrays(base)])
    torch.jit.save(torch.jit.script(module), output)


def make_onnx(base: Path, output: Path) -> None:
    """Writes a graph of matrix products, and its weights as external data."""
    onnx = import_framework("onnx", "onnx")
    helper, kinds = import_framework("onnx.helper", "onnx"), onnx.TensorProto
    tensors, nodes, outputs, position = [], [], [], 0
    with open(output.with_name("weights.bin"), "wb") as weights:
        for name, array in arrays(base):
            rows, _ = array.shape
            tensor = kinds(name=name, data_type=kinds.FLOAT, dims=(COLUMNS, rows), data_location=kinds.EXTERNAL)
            members = {"location": "weights.bin", "offset": str(position), "length": str(array.nbytes)}
            for key, value in members.items():
                tensor.external_data.add(key=key, value=value)
            weights.write(array.data)
            position += array.nbytes
            tensors.append(tensor)
            nodes.append(helper.make_node("MatMul", ["x", name], [f"y.{name}"]))
            outputs.append(helper.make_tensor_value_info(f"y.{name}", kinds.FLOAT, [1, rows]))
    _write_onnx(helper, output, nodes, tensors, outputs, COLUMNS)


def make_tiny_onnx(base: Path, output: Path) -> None:
    """Writes a model of 1 MiB in one file, with the input `x`; it needs nothing of the random one."""
    onnx = import_framework("onnx", "onnx")
    numpy = import_framework("numpy", "onnx")
    helper = import_framework("onnx.helper", "onnx")
    weights = numpy.random.default_rng().random((TINY_ROWS, TINY_ROWS), numpy.float32)
    tensors = [import_framework("onnx.numpy_helper", "onnx").from_array(weights, "w")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, TINY_ROWS])]
    _write_onnx(helper, output, nodes, tensors, outputs, TINY_ROWS)


def _write_onnx(helper: Any, path: Path, nodes: list[Any], tensors: list[Any], outputs: list[Any], width: int) -> None:
    inputs = [helper.make_tensor_value_info("x", 1, [1, width])]
    graph = helper.make_graph(nodes, "bench", inputs, outputs, tensors)
    # Older than the newest that the package onnx would choose, which may be too new for the ONNX Runtime beside it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def make_openvino(base: Path, output: Path) -> None:
    """Writes an IR of matrix products."""
    openvino = import_framework("openvino", "openvino")
    operators = import_framework("openvino.opset13", "openvino")
    x = operators.parameter([1, COLUMNS], dtype=openvino.Type.f32, name="x")
    products = [operators.matmul(x, operators.constant(array), False, True) for _, array in arrays(base)]
    openvino.save_model(openvino.Model(products, [x], "bench"), output, compress_to_fp16=False)


def make_tensorflow(base: Path, output: Path) -> None:
    """Writes a SavedModel with one variable for each tensor."""
    tensorflow = import_framework("tensorflow", "tensorflow")
    module = tensorflow.Module()
    module.weights = [tensorflow.Variable(array) for _, array in arrays(base)]
    tensorflow.saved_model.save(module, str(output))


def make_paddle(base: Path, output: Path) -> None:
    """Writes a state dict."""
    paddle = import_framework("paddle", "paddle")
    paddle.save({name: paddle.to_tensor(array) for name, array in arrays(base)}, str(output))


MAKERS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "torch": ("model.pt", make_torch),
    "onnx": ("model.onnx", make_onnx),
    "openvino": ("model.xml", make_openvino),
    "tensorflow": ("saved_model", make_tensorflow),
    "paddle": ("model.pdparams", make_paddle),
    "torchscript": ("model.ts", make_torchscript),
    "tiny_onnx": ("tiny.onnx", make_tiny_onnx),
}
"""For each type, how the model is called, and what makes it from the random one; in an empty folder. The random model
itself is of the type safetensors."""
