"""ONNX: the models that the package onnx tests runtimes with, of every operator, and none of them made by us."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from cryptors import CryptorFactory, EncryptOptions, ModelRejectedError
from tests.cryptors.containers import CONTENT_KEY

ONNX = CryptorFactory.instance("onnx")
AT_LEAST = {"simple": 15, "pytorch-operator": 20, "pytorch-converted": 50, "node": 1200}
"""The package's folders of models that bring inputs and outputs with them, and of how many ONNX Runtime makes the right
outputs at least. Without these numbers, the test could shrink to nothing unseen."""


SessionOptions = onnxruntime.SessionOptions


def one_thread() -> Any:
    """Returns options for small models, which threads only slow down."""
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return options


def value(path: Path, kind: Any) -> Any:
    """Returns an input or output that the package keeps in a file."""
    data = path.read_bytes()
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def load(locked: Path) -> Any:
    return ONNX.load(locked, CONTENT_KEY, threads=1)


def values(folder: Path, kind: str, described: Sequence[Any]) -> list[Any]:
    count = len(list(folder.glob(f"{kind}_*.pb")))
    return [value(folder / f"{kind}_{number}.pb", described[number].type) for number in range(count)]


def data_sets(folder: Path) -> list[tuple[list[Any], list[Any]]]:
    """Returns the inputs and the outputs that belong to a model, by position."""
    graph = onnx.load(folder / "model.onnx").graph
    sets = sorted(folder.glob("test_data_set_*"))
    return [(values(each, "input", graph.input), values(each, "output", graph.output)) for each in sets]


def run(session: Any, inputs: list[Any]) -> list[Any]:
    names = [each.name for each in session.get_inputs()]
    outputs: list[Any] = session.run(None, dict(zip(names, inputs, strict=False)))
    return outputs


def bits(found: Any) -> Any:
    """Returns what tells two outputs apart to the last bit."""
    if isinstance(found, list):
        return [bits(each) for each in found]
    if not isinstance(found, np.ndarray):
        return found
    return (found.dtype, found.shape, found.tolist() if found.dtype == object else found.tobytes())


def results(session: Any, sets: list[tuple[list[Any], list[Any]]]) -> list[list[Any]] | None:
    """Returns a model's outputs for each set of inputs, or None where it does not run."""
    try:
        return [run(session, inputs) for inputs, _ in sets]
    except Exception:  # Such as types that NumPy does not have.
        return None


def are_right(case: Any, sets: list[tuple[list[Any], list[Any]]], found: list[list[Any]]) -> bool:
    """Returns whether outputs are those that the package expects, as exact as it wants them."""
    try:
        for (_, expected), outputs in zip(sets, found, strict=True):
            Runner.assert_similar_outputs(expected, outputs, case.rtol, case.atol)
    except (AssertionError, TypeError):
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("kind", AT_LEAST)
def test_models_of_the_onnx_package(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locked, each does what it does unlocked: the right outputs and the same bits, or the same refusal.

    Each is taken apart as large models are, down to the last value.
    """
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # Thousands of files that need not outlive a power cut.
    monkeypatch.setattr(onnxruntime, "SessionOptions", one_thread)
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_MODEL_BYTES", 0)
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_VALUES_BYTES", 1)
    locked, counted = tmp_path / "model.locked", Counter[str]()
    for case in load_model_tests(kind=kind):
        folder = Path(case.model_dir)
        ONNX.encrypt(folder / "model.onnx", CONTENT_KEY, locked, EncryptOptions(replace=True, threads=1))
        try:
            plain = onnxruntime.InferenceSession(folder / "model.onnx", one_thread())
        except Exception:  # Too new for this ONNX Runtime, or of operators that it does not have.
            with pytest.raises(ModelRejectedError):
                load(locked)
            counted["refused"] += 1
            continue
        sets = data_sets(folder)
        expected, found = results(plain, sets), results(load(locked), sets)
        if expected is None:
            assert found is None, case.name
            counted["do not run"] += 1
        elif not are_right(case, sets, expected):
            counted["other outputs"] += 1
        else:
            assert found is not None, case.name
            assert are_right(case, sets, found), case.name
            assert bits(found) == bits(expected), case.name
            counted["right"] += 1
    print(kind, dict(counted))
    assert counted["right"] >= AT_LEAST[kind]
