"""Real plans of TensorRT for RTX, which builds them without a GPU: here they travel as bytes, and nothing runs them."""

from pathlib import Path
from typing import Any

import torch

from cryptors import CryptorFactory, ModelType
from cryptors.reader import LockedModel
from cryptors.unpack import unpack
from tests.real_models.kind import Kind, RealModel, kept
from tests.real_models.minilm import MINILM
from tests.real_models.onnx_kinds import onnx_bytes
from tests.real_models.resnet18 import RESNET18

__all__ = ["KINDS"]


@kept
def plan(model: RealModel) -> bytes:
    """Returns the plan for inputs of the shapes that the model gets here."""
    import tensorrt_rtx as tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    assert parser.parse(onnx_bytes(model)), [parser.get_error(number).desc() for number in range(parser.num_errors)]
    for number, array in enumerate(model.inputs().values()):
        network.get_input(number).shape = array.shape
    return bytes(builder.build_serialized_network(network, builder.create_builder_config()))


def make_plan(model: RealModel, folder: Path) -> Path:
    (folder / "model.engine").write_bytes(plan(model))
    return folder / "model.engine"


def make_torch2trt(model: RealModel, folder: Path) -> Path:
    """Writes what `torch.save` writes of the state dict of torch2trt's `TRTModule`."""
    state = {"engine": bytearray(plan(model)), "input_names": list(model.inputs()), "output_names": ["output"]}
    torch.save(state, folder / "model.pth")
    return folder / "model.pth"


def decrypt(kind: Kind, locked: Path, content_key: bytes) -> Any:
    return CryptorFactory.instance(kind.model_type).decrypt(locked, content_key)


def unpacked(kind: Kind, locked: Path, content_key: bytes) -> bytes:
    """Returns the file that `weightlock decrypt` writes: the cryptor itself gives no less than a module on a GPU."""
    output = locked.with_suffix(".unpacked")
    with LockedModel(locked, content_key) as model:
        unpack(model, output)
    return output.read_bytes()


def kinds(model: RealModel) -> list[Kind]:
    """Returns the forms of one model."""
    return [
        Kind(
            model, "tensorrt", ModelType.MODEL_TENSORRT, lambda folder: make_plan(model, folder), Path.read_bytes,
            lambda data: data, load=decrypt, only_bytes=True,
        ),
        Kind(
            model, "torch2trt", ModelType.MODEL_TORCH2TRT, lambda folder: make_torch2trt(model, folder),
            Path.read_bytes, lambda data: data, load=unpacked, only_bytes=True,
        ),
    ]  # fmt: skip


KINDS = [*kinds(RESNET18), *kinds(MINILM)]
