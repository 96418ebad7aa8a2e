"""What the tests of the ONNX cryptor share: a small model, and what it must give."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from cryptors import CryptorFactory
from tests.cryptors.containers import CONTENT_KEY
from tests.onnx_models import ExternalWriter, inside, write_graph
from tests.refusals import assert_refused

__all__ = [
    "MATMUL",
    "ONNX",
    "OUTPUT",
    "V",
    "W",
    "X",
    "assert_refused",
    "assert_same_outputs",
    "lock",
    "write_external",
    "write_inside",
]

ONNX = CryptorFactory.instance("onnx")
X: Any = np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)
W: Any = np.random.default_rng(2).standard_normal((64, 64)).astype(np.float32)
V: Any = np.random.default_rng(3).standard_normal((64, 64)).astype(np.float32)
MATMUL = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
OUTPUT = (TensorProto.FLOAT, [2, 64])


def lock(model: Path) -> Path:
    """Locks a model and returns the locked one, which lies outside its folder."""
    locked = model.parent.parent / "model.locked"
    ONNX.encrypt(model, CONTENT_KEY, locked)
    return locked


def assert_same_outputs(model: Path, locked: Path, inputs: dict[str, Any] | None = None) -> None:
    """Asserts that `load` and `decrypt` give what the plaintext gives, and that `decrypt` gives one whole file."""
    inputs = inputs or {"x": X}
    expected = onnxruntime.InferenceSession(model).run(None, inputs)
    plaintext = ONNX.decrypt(locked, CONTENT_KEY)
    onnx.checker.check_model(plaintext, full_check=True)
    for session in (ONNX.load(locked, CONTENT_KEY), onnxruntime.InferenceSession(plaintext)):
        for found, wanted in zip(session.run(None, inputs), expected, strict=True):
            assert found.tobytes() == wanted.tobytes()


def write_external(folder: Path, location: str = "weights.bin", name: str = "m.onnx") -> Path:
    """Writes the model of two products with its weights in one file."""
    tensor = ExternalWriter((folder / name).parent, location)
    return write_graph(folder / name, MATMUL, [tensor("w", W), tensor("v", V)], {"x": X}, OUTPUT)


def write_inside(folder: Path) -> Path:
    """Writes the same model as one file."""
    return write_graph(folder / "m.onnx", MATMUL, [inside("w", W), inside("v", V)], {"x": X}, OUTPUT)


@pytest.fixture
def onnx_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where plaintext models go. The working directory is empty: nothing that is found can come from there."""
    for name in ("model", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "model"
