"""ONNX in one file and with external data, and what is made of it: OpenVINO's IR, and plans for TensorRT."""

import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from cryptors import ModelType
from cryptors.openvino_runtime import import_openvino
from tests.real_models.kind import Kind, RealModel, kept
from tests.real_models.minilm import MINILM
from tests.real_models.resnet18 import RESNET18
from tests.real_models.torch_kinds import tensors
from tools.demo_model import build_minilm_onnx, find_minilm

__all__ = ["KINDS", "onnx_bytes"]


@kept
def onnx_bytes(model: RealModel) -> bytes:
    """Returns the model as one ONNX file: of MiniLM the demo's own, of ResNet-18 what PyTorch exports."""
    if model is MINILM:
        with tempfile.TemporaryDirectory() as folder:
            build_minilm_onnx(find_minilm(), Path(folder, "model.onnx"))
            return Path(folder, "model.onnx").read_bytes()
    exported = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter needs a package more, and exports no better for this purpose.
        warnings.simplefilter("ignore", DeprecationWarning)
        inputs = tensors(model)
        torch.onnx.export(
            model.module(), tuple(inputs.values()), exported, input_names=list(inputs), opset_version=17, dynamo=False
        )
    return exported.getvalue()


def make_onnx(model: RealModel, folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(onnx_bytes(model))
    return folder / "model.onnx"


def make_onnx_external(model: RealModel, folder: Path) -> Path:
    proto = onnx.load_model_from_string(onnx_bytes(model))
    onnx.save_model(proto, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data")
    return folder / "model.onnx"


def make_ir(model: RealModel, folder: Path) -> Path:
    openvino = import_openvino()
    openvino.save_model(openvino.Core().read_model(onnx_bytes(model)), folder / "model.xml", compress_to_fp16=False)
    return folder / "model.xml"


def kinds(model: RealModel) -> list[Kind]:
    """Returns the forms of one model."""

    def run_session(session: Any) -> Any:
        return session.run(None, model.inputs())[0]

    def run_compiled(compiled: Any) -> Any:
        return compiled(model.inputs())[0]

    return [
        Kind(
            model, "onnx", ModelType.MODEL_ONNX, lambda folder: make_onnx(model, folder),
            onnxruntime.InferenceSession, run_session, model.inputs,
        ),
        Kind(
            model, "onnx_external", ModelType.MODEL_ONNX, lambda folder: make_onnx_external(model, folder),
            onnxruntime.InferenceSession, run_session, model.inputs,
        ),
        Kind(
            model, "openvino", ModelType.MODEL_OPENVINO, lambda folder: make_ir(model, folder),
            lambda path: import_openvino().Core().compile_model(path, "CPU"), run_compiled, model.inputs,
        ),
    ]  # fmt: skip


KINDS = [*kinds(RESNET18), *kinds(MINILM)]
