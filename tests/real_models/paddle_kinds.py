"""Paddle's forms: programs of Paddle 3 (`.json`) and of before (`.pdmodel`), and state dicts."""

from pathlib import Path
from typing import Any

from cryptors import ModelType
from tests.real_models.kind import Kind, RealModel
from tests.real_models.minilm import MINILM
from tests.real_models.paddle_models import paddle_minilm, paddle_resnet18
from tests.real_models.resnet18 import RESNET18

__all__ = ["KINDS"]


def layer(model: RealModel) -> Any:
    return paddle_resnet18() if model is RESNET18 else paddle_minilm()


def make_program(model: RealModel, folder: Path, ending: str) -> Path:
    import paddle

    specs = [paddle.static.InputSpec(array.shape, str(array.dtype), name) for name, array in model.inputs().items()]
    guard = paddle.pir_utils.OldIrGuard() if ending == ".pdmodel" else paddle.pir_utils.IrGuard()
    with guard:
        paddle.jit.save(layer(model), str(folder / "model"), specs)
    return folder / f"model{ending}"


def read_program(path: Path) -> Any:
    from paddle import inference

    config = inference.Config(str(path), str(path.with_suffix(".pdiparams")))
    config.disable_glog_info()
    return inference.create_predictor(config)


def run_program(model: RealModel, predictor: Any) -> Any:
    import paddle

    (output,) = predictor.run([paddle.to_tensor(array) for array in model.inputs().values()])
    return output.numpy()


def kinds(model: RealModel, *endings: str) -> list[Kind]:
    """Returns the forms of one model."""
    return [
        Kind(
            model, f"paddle{ending}", ModelType.MODEL_PADDLE,
            lambda folder, ending=ending: make_program(model, folder, ending), read_program,
            lambda predictor: run_program(model, predictor), model.inputs,
        )
        for ending in endings
    ]  # fmt: skip


# Paddle 3 does not write MiniLM's layers as a program of before any more.
KINDS = [*kinds(RESNET18, ".json", ".pdmodel"), *kinds(MINILM, ".json")]
