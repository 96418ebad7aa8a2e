"""TensorRT and torch2trt, with stand-ins for what needs a GPU: their outputs say nothing about the real runtimes.

Real plans, and the real runtime as far as it goes without a GPU, are tried in tests/cryptors, and on GPUs in tests/gpu.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cryptors import ModelType
from tests.contract.case import Arrays, Case, inputs, trained_weights

__all__ = ["CASES"]

# The stand-ins import packages that not every test run has.


@contextlib.contextmanager
def tensorrt() -> Iterator[None]:
    """A GPU, and TensorRT."""
    from tests.standins.places import gpu_with

    with gpu_with():
        yield


def make_plan(folder: Path, width: int) -> Path:
    from tests.standins.tensorrt_standin import write_plan

    return write_plan(folder / "network.engine", trained_weights(width))


def read_plan(path: Path) -> Any:
    return deserialize(path.read_bytes())


def deserialize(plan: bytes) -> Any:
    from tests.standins.tensorrt_standin import new_runtime

    return new_runtime().deserialize_cuda_engine(plan)


def engine_outputs(model: Any) -> Arrays:
    engine = deserialize(model) if isinstance(model, bytes) else model
    return {"y": engine.compute(inputs(engine.width)["x"])}


@contextlib.contextmanager
def torch2trt() -> Iterator[None]:
    """A GPU that PyTorch finds, and torch2trt."""
    from tests.standins.torch2trt_standin import torch2trt_on_gpu

    with torch2trt_on_gpu():
        yield


def make_module(folder: Path, width: int) -> Path:
    from tests.standins.torch2trt_standin import write_state_dict

    return write_state_dict(folder / "network.pth", trained_weights(width))


def read_module(path: Path) -> Any:
    from tests.standins.torch2trt_standin import TRTModuleStandIn

    module = TRTModuleStandIn()
    module.load_state_dict(torch.load(path, weights_only=True))
    return module


def module_outputs(module: Any) -> Arrays:
    return {"y": module(torch.from_numpy(inputs(module.engine.width)["x"])).numpy()}


def on_gpu(width: int) -> tuple[str, ...]:
    return ("--device", "cuda:0")


CASES = [
    Case(
        "tensorrt", ModelType.MODEL_TENSORRT, make_plan, read_plan, engine_outputs,
        lambda path: engine_outputs(read_plan(path)), {"cuda": "tensorrt"}, run_arguments=on_gpu, stand_in=tensorrt,
    ),
    Case(
        "torch2trt", ModelType.MODEL_TORCH2TRT, make_module, read_module, module_outputs,
        lambda path: module_outputs(read_module(path)), {"torch": "torch"}, run_arguments=on_gpu,
        also=frozenset({ModelType.MODEL_TORCH}), stand_in=torch2trt,
    ),
]  # fmt: skip
