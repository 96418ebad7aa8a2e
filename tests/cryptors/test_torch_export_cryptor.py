"""torch.export: programs of every shape, archives that are something else, and pickles that could run code."""

import contextlib
import io
import json
import logging
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._export.serde.schema import SCHEMA_VERSION
from torch._export.serde.serialize import serialize

from cryptors import CryptorFactory
from cryptors.detect import detect_type
from cryptors.errors import CryptorError
from cryptors.model_type import ModelType
from cryptors.signature import TensorSpec
from licensing.errors import WeightlockError
from tests.cryptors.containers import CONTENT_KEY, write_container

EXPORT = CryptorFactory.instance("torch_export")
X = torch.arange(6.0).reshape(2, 3)
ran: list[str] = []
"""What hostile pickles of these tests have run."""


class Scale(torch.nn.Module):  # type: ignore[misc]
    """Multiplies by a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x * self.weight)


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Any:
    """Descriptors and what hostile pickles ran, before and after each test."""
    ran.clear()
    before = sorted(os.readlink(f"/proc/self/fd/{number}") for number in _descriptors())
    yield
    assert sorted(os.readlink(f"/proc/self/fd/{number}") for number in _descriptors()) == before


def _descriptors() -> list[str]:
    """Returns the numbers of the open descriptors, without the one that lists them."""
    return [number for number in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{number}")]


def assert_refused(reason: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> WeightlockError:
    with pytest.raises(WeightlockError) as caught:
        call(*arguments, **options)
    assert caught.value.reason == reason, caught.value
    return caught.value


def warnings_of(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= logging.WARNING]


def export(module: Any, arguments: tuple[Any, ...] = (X,), **options: Any) -> Any:
    return torch.export.export(module.eval(), arguments, **options)


def lock(path: Path) -> Path:
    locked = path.parent / "model.locked"
    EXPORT.encrypt(path, CONTENT_KEY, locked)
    return locked


def saved(folder: Path, program: Any) -> Path:
    torch.export.save(program, folder / "model.pt2")
    return folder / "model.pt2"


def load(folder: Path, program: Any, **options: Any) -> Any:
    return EXPORT.load(lock(saved(folder, program)), CONTENT_KEY, **options)


def rewritten(path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Writes an archive again, with the content of each member changed; those that become None are left out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: change(name.partition("/")[2], archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)
    return path


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
    outputs = EXPORT.infer(
        program, {"x": x, "pair_a": x, "pair_b": x, "scale": np.float32([2])[0:1].reshape(())}, "cpu"
    )
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


# The layout of PyTorch 2.7 and before.


def save_as_before(path: Path, program: Any, state: bytes | None = None) -> Path:
    """Writes what `torch.export.save` wrote until PyTorch 2.7."""
    artifact = serialize(program)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", artifact.exported_program)
        archive.writestr("serialized_state_dict.pt", state or artifact.state_dict)
        archive.writestr("serialized_constants.pt", artifact.constants)
        archive.writestr("serialized_example_inputs.pt", artifact.example_inputs)
        archive.writestr("version", ".".join(map(str, SCHEMA_VERSION)))
    return path


def test_old_layout(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save_as_before(tmp_path / "old.pt2", export(Scale()))
    assert detect_type(path) is ModelType.MODEL_TORCH_EXPORT
    program = EXPORT.load(lock(path), CONTENT_KEY)
    assert torch.equal(program.module()(X), Scale()(X))
    assert not any("error" in warning for warning in warnings_of(caplog)), "what is no error is not called one"


def test_old_layout_with_a_pickle_that_runs_code(tmp_path: Path) -> None:
    state = io.BytesIO()
    torch.save(Hostile(), state)
    locked = lock(save_as_before(tmp_path / "old.pt2", export(Scale()), state.getvalue()))
    assert_refused("unsafe_pickle", EXPORT.load, locked, CONTENT_KEY)
    assert ran == []


# Pickles.


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return run, ("pickle",)


def run(what: str) -> OrderedDict[str, Any]:
    ran.append(what)
    return OrderedDict()


def hostile(kind: str) -> bytes:
    """Returns a pickle that runs code, as `torch.save` or as Python alone writes it."""
    if kind == "plain":
        return pickle.dumps(Hostile(), protocol=2)
    buffer = io.BytesIO()
    torch.save(((Hostile(),), {}), buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_sample_inputs_that_run_code(tmp_path: Path, kind: str) -> None:
    """PyTorch tries sample inputs safely first, and when that fails, loads them all the same."""

    def change(name: str, data: bytes) -> bytes:
        return hostile(kind) if name == "data/sample_inputs/model.pt" else data

    locked = lock(rewritten(saved(tmp_path, export(Scale())), change))
    for call in (EXPORT.load, EXPORT.decrypt):
        error = assert_refused("unsafe_pickle", call, locked, CONTENT_KEY)
        assert error.__cause__ is not None
        assert "--allow-pickle" in error.hints[0]
    assert ran == []


def test_sample_inputs_that_run_code_and_may(tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        return hostile("zip") if name == "data/sample_inputs/model.pt" else data

    locked = lock(rewritten(saved(tmp_path, export(Scale())), change))
    logging.getLogger("torch._export.serde.serialize").setLevel(logging.ERROR)  # PyTorch's warning fails to format.
    try:
        program = EXPORT.load(locked, CONTENT_KEY, **EXPORT.run_options("cpu", None, True))
    finally:
        logging.getLogger("torch._export.serde.serialize").setLevel(logging.NOTSET)
    assert torch.equal(program.module()(X), Scale()(X))
    assert ran == ["pickle"]


@pytest.mark.parametrize("what", ["weights", "constants"])
def test_weights_and_constants_that_run_code(tmp_path: Path, what: str) -> None:
    """Tensors of classes of one's own are pickled, each by itself, and PyTorch loads them without any check."""
    payload = {"path_name": "tensor_0", "is_param": False, "use_pickle": True, "tensor_meta": None}

    def change(name: str, data: bytes) -> bytes:
        if name == f"data/{what}/model_{what}_config.json":
            return json.dumps({"config": {"weight": payload}}).encode()
        return hostile("zip") if name == f"data/{what}/tensor_0" else data

    path = saved(tmp_path, export(Scale()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/data/{what}/tensor_0", b"")
    locked = lock(rewritten(path, change))
    assert_refused("unsafe_pickle", EXPORT.load, locked, CONTENT_KEY)
    assert ran == []
    with contextlib.suppress(CryptorError):  # It is no weight, but its code ran: the test above shows something.
        EXPORT.load(locked, CONTENT_KEY, weights_only=False)
    assert ran == ["pickle"]


def test_two_members_of_one_name(tmp_path: Path) -> None:
    """One reader could see the one, and another the other."""
    path = saved(tmp_path, export(Scale()))
    with zipfile.ZipFile(path, "a") as archive:
        name = next(name for name in archive.namelist() if "sample_inputs" in name)
        archive.writestr(name.upper(), hostile("zip"))
    assert_refused("model_source_invalid", EXPORT.encrypt, path, CONTENT_KEY, tmp_path / "x.locked")
    locked = write_container(tmp_path / "x.locked", {"model.pt2": path.read_bytes()}, model_type="torch_export")
    assert_refused("model_rejected", EXPORT.load, locked, CONTENT_KEY)
    assert ran == []


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
    path = saved(tmp_path, export(Scale()))
    for graph in (b"", b"{}", b"[]", b'{"graph_module": 7}', b"\xff"):
        changed = rewritten(path, lambda name, data, graph=graph: graph if name == "models/model.json" else data)
        locked = write_container(tmp_path / "x.locked", {"m.pt2": changed.read_bytes()}, model_type="torch_export")
        assert_refused("model_rejected", EXPORT.load, locked, CONTENT_KEY)


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
