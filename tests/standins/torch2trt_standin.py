"""A stand-in for torch2trt and for PyTorch's GPU. It is no torch2trt: its engines are toy plans, computed by NumPy."""

import contextlib
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from tests.standins.places import in_place_of
from tests.standins.tensorrt_standin import new_runtime, write_plan

__all__ = ["torch2trt_on_gpu", "write_state_dict"]


def write_state_dict(path: Path, arrays: dict[str, Any], **changes: Any) -> Path:
    """Writes what `torch.save(module.state_dict())` writes of a `TRTModule`, its engine a toy plan.

    Args:
        path: where to; the plan goes beside it and away again.
        arrays: what the engine computes with.
        **changes: other members of the state dict.
    """
    plan = write_plan(path.with_suffix(".plan"), arrays)
    flattener = {"schema": (0,), "size": 1}
    state = {
        "engine": bytearray(plan.read_bytes()),
        "input_names": ["x"],
        "output_names": ["y"],
        "input_flattener": flattener,
        "output_flattener": {**flattener, "schema": 0},
    }
    plan.unlink()
    module = TRTModuleStandIn()
    module.state = {**state, **changes}
    torch.save(module.state_dict(), path)
    return path


class TRTModuleStandIn(torch.nn.Module):  # type: ignore[misc]
    """Keeps and loads its state as torch2trt's class does, and like it fails when TensorRT gives no engine."""

    def __init__(self) -> None:
        super().__init__()
        self.state: dict[str, Any] = {}
        self._register_state_dict_hook(lambda module, found, prefix, metadata: found.update(module.state))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        self.runtime = new_runtime()
        self.engine = self.runtime.deserialize_cuda_engine(state_dict[prefix + "engine"])
        self.context = self.engine.create_execution_context()
        self.input_names, self.output_names = state_dict[prefix + "input_names"], state_dict[prefix + "output_names"]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        return torch.from_numpy(self.engine.compute(x.numpy()))


@contextlib.contextmanager
def torch2trt_on_gpu() -> Iterator[None]:
    """Makes PyTorch find one GPU, on which tensors are where they were, and makes torch2trt importable."""
    module: Any = types.ModuleType("torch2trt")
    module.__spec__ = ModuleSpec("torch2trt", None)
    module.TRTModule = TRTModuleStandIn
    move = torch.Tensor.to

    def to(tensor: Any, *where: Any, **options: Any) -> Any:
        return tensor if where and str(where[0]).startswith("cuda") else move(tensor, *where, **options)

    with (
        in_place_of({"torch2trt": module}),
        mock.patch.object(torch.cuda, "is_available", return_value=True),
        mock.patch.object(torch.cuda, "device_count", return_value=1),
        mock.patch.object(torch.cuda, "device"),
        mock.patch.object(torch.Tensor, "to", to),
    ):
        yield
