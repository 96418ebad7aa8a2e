"""torch.export: programs of every shape, the old layout of archives, and what PyTorch does not accept."""

import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cryptors.detect import detect_type
from cryptors.model_type import ModelType
from cryptors.signature import TensorSpec
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.cryptors.torch_export_setting import (
    EXPORT,
    Scale,
    X,
    assert_refused,
    export,
    load,
    lock,
    rewritten,
    save_as_before,
    saved,
    warnings_of,
)

pytestmark = pytest.mark.usefixtures("memory_only")


# Programs.


class Structured(torch.nn.Module):  # type: ignore[misc]
    """Takes tensors in a dict, by keyword and beside a constant, and returns a nested structure."""

    def forward(self, x: Any, pair: Any, times: int, *, scale: Any) -> Any:
        return x + pair["a"], [pair["b"] * scale * times]


class Named(torch.nn.Module):  # type: ignore[misc]
    """Returns a dict."""

    def forward(self, x: Any) -> Any:
        return {"twice": x * 2, "none": None, "sum": x.sum()}


def test_inputs_and_outputs_of_a_nested_structure(tmp_path: Path) -> None:
    arguments = (X, {"a": X, "b": X}, 5)
    program = load(tmp_path, export(Structured(), arguments, kwargs={"scale": torch.tensor(2.0)}))
    signature = EXPORT.signature(program)
    assert [spec.name for spec in signature.inputs] == ["x", "pair_a", "pair_b", "times", "scale"]
    assert [spec.name for spec in signature.outputs] == ["output_0", "output_1"]
    x = X.numpy()
    outputs = EXPORT.infer(program, {"x": x, "pair_a": x, "pair_b": x, "scale": np.array(2, np.float32)}, "cpu")
    assert list(outputs) == ["output_0", "output_1"]
    assert np.array_equal(outputs["output_0"], x * 2)
    assert np.array_equal(outputs["output_1"], x * 10)


def test_outputs_in_a_dict(tmp_path: Path) -> None:
    program = load(tmp_path, export(Named()))
    outputs = EXPORT.infer(program, {"arr_0": X.numpy()}, "cpu")
    assert list(outputs) == ["twice", "sum"]
    assert np.array_equal(outputs["twice"], X.numpy() * 2)
    assert [spec.name for spec in EXPORT.signature(program).outputs] == ["twice", "none", "sum"]


def test_signature_has_types_and_shapes(tmp_path: Path) -> None:
    rows = torch.export.Dim("rows")
    program = load(tmp_path, export(Scale(), dynamic_shapes={"x": {0: rows}}))
    signature = EXPORT.signature(program)
    (found,) = signature.inputs
    assert (found.name, found.dtype) == ("x", "float32")
    assert found.shape is not None
    assert isinstance(found.shape[0], str), "a dimension that may vary has a name"
    assert found.shape[1] == 3
    assert signature.outputs == (TensorSpec("output", "float32", found.shape),)


def test_wrong_inputs(tmp_path: Path) -> None:
    program = load(tmp_path, export(Scale()))
    error = assert_refused("usage", EXPORT.infer, program, {"images": X.numpy()}, "cpu")
    assert (error.message, error.hints) == ("the model has no input 'images'", ("it has 'x'",))
    assert_refused("usage", EXPORT.infer, program, {}, "cpu")
    error = assert_refused("model_rejected", EXPORT.infer, program, {"x": X.numpy()[:1]}, "cpu")
    assert error.__cause__ is not None


def test_weights_that_are_one(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False))
    module[1].weight = module[0].weight
    program = load(tmp_path, export(module))
    assert program.state_dict["0.weight"].data_ptr() == program.state_dict["1.weight"].data_ptr()


def test_extra_files(tmp_path: Path) -> None:
    torch.export.save(export(Scale()), tmp_path / "model.pt2", extra_files={"labels.txt": "cat\ndog"})
    found: dict[str, Any] = {"labels.txt": ""}
    EXPORT.load(lock(tmp_path / "model.pt2"), CONTENT_KEY, extra_files=found)
    assert found == {"labels.txt": "cat\ndog"}


def test_device(tmp_path: Path) -> None:
    path = saved(tmp_path, export(Scale()))
    locked = lock(path)
    for place in ("cpu", torch.device("cpu"), {"cpu": "cpu"}):
        program = EXPORT.load(locked, CONTENT_KEY, map_location=place)
        assert torch.equal(program.module()(X), Scale()(X))
    assert EXPORT.load(locked, CONTENT_KEY, map_location="meta").state_dict["weight"].device.type == "meta"


def test_cuda_without_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    locked = lock(saved(tmp_path, export(Scale())))
    assert_refused("framework_missing", EXPORT.load, locked, CONTENT_KEY, map_location="cuda:0")
    assert_refused("framework_missing", EXPORT.run_options, "cuda", None, False)


def test_architecture_means_nothing_here() -> None:
    assert_refused("usage", EXPORT.run_options, "cpu", "network.py:Network", False)


def test_old_layout(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save_as_before(tmp_path / "old.pt2", export(Scale()))
    assert detect_type(path) is ModelType.MODEL_TORCH_EXPORT
    program = EXPORT.load(lock(path), CONTENT_KEY)
    assert torch.equal(program.module()(X), Scale()(X))
    assert not any("error" in warning for warning in warnings_of(caplog)), "what is no error is not called one"


# What PyTorch does not accept.


def test_operator_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def change(name: str, data: bytes) -> bytes:
        return data.replace(b"torch.ops.aten.relu.default", b"torch.ops.acme.relu.default")

    locked = lock(rewritten(saved(tmp_path, export(Scale())), change))
    error = assert_refused("model_rejected", EXPORT.load, locked, CONTENT_KEY)
    assert error.message == "the model calls the operator 'acme.relu.default', which PyTorch does not have here"
    assert "acme.relu" in str(error.__cause__)
    assert warnings_of(caplog) == [], "it is said once, and not in the log as well"


def test_truncated_archive(tmp_path: Path) -> None:
    path = saved(tmp_path, export(Scale()))
    data = path.read_bytes()
    for length in (len(data) // 2, len(data) - 1, 4):
        files = {"model.pt2": data[:length]}
        locked = write_container(tmp_path / "x.locked", files, model_type="torch_export")
        assert assert_refused("model_rejected", EXPORT.load, locked, CONTENT_KEY).__cause__ is not None


@pytest.mark.parametrize("missing", ["data/sample_inputs/model.pt", "data/weights/weight_0", "archive_format"])
def test_archive_that_lacks_something(tmp_path: Path, missing: str) -> None:
    path = saved(tmp_path, export(Scale()))
    locked = lock(rewritten(path, lambda name, data: None if name == missing else data))
    assert_refused("model_rejected", EXPORT.load, locked, CONTENT_KEY)


def test_graph_that_is_none(tmp_path: Path) -> None:
    whole = saved(tmp_path, export(Scale())).read_bytes()
    for graph in (b"", b"{}", b"[]", b'{"graph_module": 7}', b"\xff"):
        (tmp_path / "changed.pt2").write_bytes(whole)
        path = rewritten(tmp_path / "changed.pt2", partial(replaced, "models/model.json", graph))
        locked = write_container(tmp_path / "x.locked", {"m.pt2": path.read_bytes()}, model_type="torch_export")
        assert_refused("model_rejected", EXPORT.load, locked, CONTENT_KEY)


def replaced(member: str, content: bytes, name: str, data: bytes) -> bytes:
    return content if name == member else data


def test_compiled_code_is_not_unpacked_to_disk(tmp_path: Path) -> None:
    """PyTorch would write the whole archive to a temporary file to load such code."""
    path = saved(tmp_path, export(Scale()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/data/aotinductor/model/code.so", b"")
    assert_refused("model_source_invalid", EXPORT.encrypt, path, CONTENT_KEY, tmp_path / "x.locked")
    assert not (tmp_path / "x.locked").exists()
    locked = write_container(tmp_path / "x.locked", {"m.pt2": path.read_bytes()}, model_type="torch_export")
    assert_refused("model_type_unsupported", EXPORT.load, locked, CONTENT_KEY, weights_only=False)


def test_archives_of_other_kinds(tmp_path: Path) -> None:
    torch.save(Scale().state_dict(), tmp_path / "state.pt2")
    with zipfile.ZipFile(tmp_path / "empty.pt2", "w"):
        pass
    (tmp_path / "text.pt2").write_text("text")
    for name in ("state", "empty", "text"):
        path = tmp_path / f"{name}.pt2"
        assert_refused("model_type_mismatch", EXPORT.encrypt, path, CONTENT_KEY, tmp_path / "x.locked")
