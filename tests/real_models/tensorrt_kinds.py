"""Real plans of TensorRT for RTX, which builds them without a GPU: here they travel as bytes, and nothing runs them."""

from hashlib import sha256
from pathlib import Path

import torch

from cryptors import CryptorFactory, ModelType
from tests.real_models.digests import digests, unpacked_digests
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


def decrypted_digests(kind: Kind, locked: Path, content_key: bytes) -> list[str]:
    return [sha256(CryptorFactory.instance(kind.model_type).decrypt(locked, content_key)).hexdigest()]


def kinds(model: RealModel) -> list[Kind]:
    """Returns the forms of one model."""
    return [
        Kind(
            model, "tensorrt", ModelType.MODEL_TENSORRT, lambda folder: make_plan(model, folder), digests, list,
            load=decrypted_digests, only_bytes=True,
        ),
        Kind(
            model, "torch2trt", ModelType.MODEL_TORCH2TRT, lambda folder: make_torch2trt(model, folder), digests, list,
            load=unpacked_digests, only_bytes=True,
        ),
    ]  # fmt: skip


KINDS = [*kinds(RESNET18), *kinds(MINILM)]
