"""Paddle's forms: programs of Paddle 3 (`.json`) and of before (`.pdmodel`), and state dicts."""

import contextlib
from functools import partial
from pathlib import Path
from typing import Any

from cryptors import ModelType
from cryptors.paddle_inference import import_paddle
from tests.real_models import paddle_minilm
from tests.real_models.digests import digests, unpacked_digests
from tests.real_models.kind import Kind, RealModel, kept
from tests.real_models.minilm import MINILM
from tests.real_models.resnet18 import RESNET18, weights

__all__ = ["KINDS"]

ARCHITECTURES = {RESNET18: "paddle.vision.models:resnet18", MINILM: paddle_minilm.ARCHITECTURE}


@kept
def paddle_resnet18() -> Any:
    """Returns Paddle's own ResNet-18, which has PyTorch's names but for the statistics."""
    layer = import_paddle().vision.models.resnet18()
    arrays = {
        name.replace("running_mean", "_mean").replace("running_var", "_variance"): array
        for name, array in weights().items()
        if not name.endswith("num_batches_tracked")
    }
    # Paddle keeps the weights of linear layers as [inputs, outputs].
    assert layer.set_state_dict({**arrays, "fc.weight": arrays["fc.weight"].T}) == ([], [])
    layer.eval()
    return layer


def trained_layer(model: RealModel) -> Any:
    return paddle_resnet18() if model is RESNET18 else paddle_minilm.paddle_minilm()


def make_program(model: RealModel, ending: str, folder: Path) -> Path:
    paddle, layer = import_paddle(), trained_layer(model)
    specs = [paddle.static.InputSpec(array.shape, str(array.dtype), name) for name, array in model.inputs().items()]
    with paddle.pir_utils.OldIrGuard() if ending == ".pdmodel" else contextlib.nullcontext():
        paddle.jit.save(layer, str(folder / "model"), specs)
    return folder / f"model{ending}"


def make_state_dict(model: RealModel, folder: Path) -> Path:
    import_paddle().save(trained_layer(model).state_dict(), str(folder / "model.pdparams"))
    return folder / "model.pdparams"


def read_program(path: Path) -> Any:
    inference = import_paddle().inference
    config = inference.Config(str(path), str(path.with_suffix(".pdiparams")))
    config.disable_glog_info()
    return inference.create_predictor(config)


def read_layer(path: Path) -> Any:
    return import_paddle().jit.load(str(path.with_suffix("")))


def read_state_dict(model: RealModel, path: Path) -> Any:
    paddle = import_paddle()
    layer = paddle.vision.models.resnet18() if model is RESNET18 else paddle_minilm.minilm_layer()
    assert layer.set_state_dict(paddle.load(str(path))) == ([], [])
    layer.eval()
    return layer


def run_predictor(model: RealModel, predictor: Any) -> Any:
    (output,) = predictor.run([import_paddle().to_tensor(array) for array in model.inputs().values()])
    return output.numpy()


def run_layer(model: RealModel, layer: Any) -> Any:
    paddle = import_paddle()
    with paddle.no_grad():
        return layer(*map(paddle.to_tensor, model.inputs().values())).numpy()


def predictor_kind(model: RealModel, ending: str) -> Kind:
    return Kind(
        model, f"paddle{ending}", ModelType.MODEL_PADDLE, partial(make_program, model, ending), read_program,
        partial(run_predictor, model), model.inputs,
    )  # fmt: skip


def layer_kinds(model: RealModel) -> list[Kind]:
    """Returns what gives layers of Paddle's: a program, and a state dict."""
    return [
        Kind(
            model, "paddle.jit", ModelType.MODEL_PADDLE, partial(make_program, model, ".json"), read_layer,
            partial(run_layer, model), model.inputs, {"api": "jit"},
        ),
        Kind(
            model, "paddle.pdparams", ModelType.MODEL_PADDLE, partial(make_state_dict, model),
            partial(read_state_dict, model), partial(run_layer, model), model.inputs,
            {"architecture": ARCHITECTURES[model]},
        ),
    ]  # fmt: skip


def program_digests(path: Path) -> list[str]:
    """Returns the digests of the parameters and the program, in the order of their names."""
    return [digest for ending in (".pdiparams", ".pdmodel") for digest in digests(path.with_suffix(ending))]


KINDS = [
    predictor_kind(RESNET18, ".json"),
    predictor_kind(RESNET18, ".pdmodel"),
    *layer_kinds(RESNET18),
    # Paddle 3 fails to write MiniLM's layers as a program of before.
    predictor_kind(MINILM, ".json"),
    *layer_kinds(MINILM),
    # Paddle for CPUs has no TensorRT: here the program travels, and nothing runs it.
    Kind(
        RESNET18, "paddle2trt", ModelType.MODEL_PADDLE2TRT, partial(make_program, RESNET18, ".pdmodel"),
        program_digests, list, load=unpacked_digests, only_bytes=True,
    ),
]  # fmt: skip
