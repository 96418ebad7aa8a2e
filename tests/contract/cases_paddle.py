"""Paddle: programs in the formats of Paddle 2 and 3, and state dicts. Paddle-TRT: with a stand-in for TensorRT."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptors import ModelType
from tests import paddle_models
from tests.contract import networks
from tests.contract.case import Arrays, Case, inputs, trained_weights
from tests.standins.paddle_tensorrt_standin import paddle_tensorrt

__all__ = ["CASES"]


def make_pdmodel(folder: Path, width: int) -> Path:
    return paddle_models.write_pdmodel(folder / "network.pdmodel", trained_weights(width))


def make_json(folder: Path, width: int) -> Path:
    return paddle_models.write_json(folder / "network.json", trained_weights(width))


def make_directory(folder: Path, width: int) -> Path:
    """Writes a directory as Paddle's own models come in, with a file that Paddle does not read."""
    (folder / "network").mkdir()
    paddle_models.write_json(folder / "network" / "inference.json", trained_weights(width))
    (folder / "network" / "inference.yml").write_text("PreProcess: {}\n")
    return folder / "network"


def program_of(path: Path) -> Path:
    return path / "inference.json" if path.is_dir() else path


def read_program(path: Path) -> Any:
    return paddle_models.predictor(program_of(path))


def predictor_outputs(predictor: Any) -> Arrays:
    """Returns outputs by the names that the program gives them; both formats have the width of the input nowhere."""
    x = predictor.get_input_handle("x")
    for width in (networks.TINY, networks.WIDE, networks.PATTERNED):
        x.copy_from_cpu(inputs(width)["x"])
        try:
            predictor.run()
        except ValueError:  # It is the other width.
            continue
        return {name: predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()}
    raise AssertionError("the model takes no width that there is")


def run_program(path: Path) -> Arrays:
    return predictor_outputs(read_program(path))


def read_layer(path: Path) -> Any:
    from cryptors.paddle_inference import import_paddle

    return import_paddle().jit.load(str(path.with_suffix("")))


def layer_outputs(layer: Any) -> Arrays:
    from cryptors.paddle_inference import import_paddle

    paddle = import_paddle()
    weight = next(tensor for tensor in layer.state_dict().values() if tensor.ndim == 2)
    with paddle.no_grad():
        return {"output": layer(paddle.to_tensor(inputs(weight.shape[0])["x"])).numpy()}


def make_state_dict(folder: Path, width: int) -> Path:
    return paddle_models.write_state_dict(folder / "network.pdparams", trained_weights(width))


def read_state_dict(path: Path) -> Any:
    from cryptors.paddle_inference import import_paddle

    return import_paddle().load(str(path))


def weights(state: dict[str, Any]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in state.items()}


def run_state_dict(path: Path) -> Arrays:
    state = read_state_dict(path)
    layer = paddle_models.new_layer(state["first.weight"].shape[0])
    layer.set_state_dict(state)
    return layer_outputs(layer)


def architecture(width: int) -> tuple[str, ...]:
    name = {networks.TINY: "tiny", networks.WIDE: "wide", networks.PATTERNED: "patterned"}[width]
    return ("--architecture", f"{Path(__file__).with_name('paddle_networks.py')}:{name}_network")


@contextlib.contextmanager
def tensorrt() -> Iterator[None]:
    """A Paddle that was built with TensorRT, and a GPU."""
    with paddle_tensorrt():
        yield


def on_gpu(width: int) -> tuple[str, ...]:
    return ("--device", "cuda:0")


PADDLE = {"paddle": "paddle"}
TENSORRT = frozenset({ModelType.MODEL_PADDLE2TRT})

# Paddle copies what it reads, from memory as from a disk: for a while there are two copies.
CASES = [
    Case(
        "paddle-pdmodel", ModelType.MODEL_PADDLE, make_pdmodel, read_program, predictor_outputs, run_program, PADDLE,
        also=TENSORRT, peak=2.1,
    ),
    Case(
        "paddle-json", ModelType.MODEL_PADDLE, make_json, read_program, predictor_outputs, run_program, PADDLE, peak=2.1
    ),
    Case(
        "paddle-directory", ModelType.MODEL_PADDLE, make_directory, read_program, predictor_outputs, run_program,
        PADDLE, peak=2.1,
    ),
    Case(
        "paddle-jit", ModelType.MODEL_PADDLE, make_json, read_layer, layer_outputs, run_program, PADDLE, {"api": "jit"},
        peak=2.1,
    ),
    Case(
        "paddle-state-dict", ModelType.MODEL_PADDLE, make_state_dict, read_state_dict, weights, run_state_dict, PADDLE,
        run_arguments=architecture, peak=2.1,
    ),
    Case(
        "paddle2trt", ModelType.MODEL_PADDLE2TRT, make_pdmodel, read_program, predictor_outputs, run_program, PADDLE,
        run_arguments=on_gpu, also=frozenset({ModelType.MODEL_PADDLE}), stand_in=tensorrt,
    ),
]  # fmt: skip
