"""Puts stand-ins for GPUs and what runs on them into the places of the real modules, for as long as a context lasts."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from tests.standins.cuda_standin import DriverStandIn
from tests.standins.tensorrt_standin import tensorrt_standin

__all__ = ["gpu_with", "in_place_of"]

TENSORRT = ("tensorrt", "tensorrt_lean", "tensorrt_dispatch", "tensorrt_rtx")


@contextlib.contextmanager
def in_place_of(modules: dict[str, Any]) -> Iterator[None]:
    """Makes imports give other modules; one that is None cannot be imported.

    All else that is imported meanwhile stays imported, which `unittest.mock.patch.dict` would undo.
    """
    missing = object()
    before = {name: sys.modules.get(name, missing) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is missing:
                del sys.modules[name]
            else:
                sys.modules[name] = module  # type: ignore[assignment]


@contextlib.contextmanager
def gpu_with(*modules: Any, gpus: int = 1) -> Iterator[DriverStandIn]:
    """Gives a driver that finds GPUs, beside these modules of TensorRT and no others; by default, `tensorrt`."""
    driver = DriverStandIn(gpus)
    found = {module.__name__: module for module in modules or (tensorrt_standin(),)}
    with in_place_of({"cuda.bindings.driver": driver, **{name: found.get(name) for name in TENSORRT}}):
        yield driver
