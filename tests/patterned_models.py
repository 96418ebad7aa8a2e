"""Models of every type whose weights are one pattern of 64 bytes, again and again, so that a copy is recognised."""

from collections.abc import Callable
from pathlib import Path

import numpy

from tests.story import write_onnx

__all__ = ["MODELS", "PATTERN", "SIZE", "holds_pattern"]

SIZE = 1024
"""The weights are a matrix of so many rows and columns: 4 MiB, several segments."""

_NUMBERS = (0.5 + numpy.random.default_rng(2).random(16) / 2).astype(numpy.float32)
PATTERN = _NUMBERS.tobytes()
WEIGHTS = numpy.tile(_NUMBERS, SIZE * SIZE // 16).reshape(SIZE, SIZE)

_WINDOW_BYTES = 16
_WINDOWS = [(PATTERN + PATTERN)[start : start + _WINDOW_BYTES] for start in range(len(PATTERN))]

ARCHITECTURE = f"""
import torch


def net():
    return torch.nn.Sequential(torch.nn.Linear({SIZE}, {SIZE}, bias=False))
"""


def holds_pattern(data: bytes) -> bool:
    """Returns whether sixteen bytes of the pattern, wherever they begin in it, are in some data."""
    return any(window in data for window in _WINDOWS)


def _torch(folder: Path) -> Path:
    import torch

    torch.save({"0.weight": torch.from_numpy(WEIGHTS)}, folder / "net.pth")
    return folder / "net.pth"


def _torchscript(folder: Path) -> Path:
    import torch

    module = torch.nn.Linear(SIZE, SIZE, bias=False)
    module.load_state_dict({"weight": torch.from_numpy(WEIGHTS)})
    torch.jit.save(torch.jit.script(module), str(folder / "net.pt"))
    return folder / "net.pt"


def _onnx(folder: Path) -> Path:
    write_onnx(folder / "net.onnx", weights=WEIGHTS)
    return folder / "net.onnx"


def _onnx_external_data(folder: Path) -> Path:
    write_onnx(folder / "net.onnx", external_data="net.data", weights=WEIGHTS)
    return folder


def _safetensors(folder: Path) -> Path:
    from safetensors.numpy import save_file

    save_file({"0.weight": WEIGHTS}, folder / "net.safetensors")
    return folder / "net.safetensors"


MODELS: dict[str, tuple[Callable[[Path], Path], bool]] = {
    "torch": (_torch, True),
    "torchscript": (_torchscript, False),
    "onnx": (_onnx, False),
    "onnx with external data": (_onnx_external_data, False),
    "safetensors": (_safetensors, True),
}
"""What makes each model in an empty folder and returns its path, and whether running it takes the architecture."""
