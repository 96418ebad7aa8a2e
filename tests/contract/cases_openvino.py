"""OpenVINO: an IR as two files, named by its `.xml` file, and as a directory."""

from pathlib import Path
from typing import Any

from cryptors import ModelType
from cryptors.openvino_runtime import import_openvino
from tests.contract.case import Arrays, Case, inputs, trained_weights

__all__ = ["CASES", "make_ir"]


def make_ir(folder: Path, width: int) -> Path:
    """Writes the network as OpenVINO's own converter does, and returns the `.xml` file."""
    openvino, ops = import_openvino(), import_openvino().opset13
    weights = {name: ops.constant(array) for name, array in trained_weights(width).items()}
    x = ops.parameter([-1, width], openvino.Type.f32, name="x")
    first = ops.add(ops.matmul(x, weights["first.weight"], False, True), weights["first.bias"])
    last = ops.add(ops.matmul(ops.relu(first), weights["last.weight"], False, True), weights["last.bias"])
    x.output(0).set_names({"x"})
    last.output(0).set_names({"y"})
    model = openvino.Model([ops.result(last)], [x], "network")
    openvino.save_model(model, folder / "network.xml", compress_to_fp16=False)
    return folder / "network.xml"


def make_directory(folder: Path, width: int) -> Path:
    """Writes a directory that holds other XML as well."""
    model = folder / "network"
    model.mkdir()
    make_ir(model, width)
    (model / "labels.xml").write_text("<labels/>")
    return model


def read_ir(path: Path) -> Any:
    return import_openvino().Core().read_model(path / "network.xml" if path.is_dir() else path)


def ir_outputs(model: Any) -> Arrays:
    openvino = import_openvino()
    compiled = openvino.Core().compile_model(model, "CPU") if isinstance(model, openvino.Model) else model
    (x,) = compiled.inputs
    return {"y": compiled(inputs(x.partial_shape[1].get_length()))["y"]}


def run_ir(path: Path) -> Arrays:
    return ir_outputs(read_ir(path))


OPENVINO = {"openvino": "openvino"}

CASES = [
    Case("openvino", ModelType.MODEL_OPENVINO, make_ir, read_ir, ir_outputs, run_ir, OPENVINO),
    Case("openvino-directory", ModelType.MODEL_OPENVINO, make_directory, read_ir, ir_outputs, run_ir, OPENVINO),
]
