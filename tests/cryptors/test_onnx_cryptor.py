"""ONNX: sessions that need nothing of the memory which is wiped, and their inputs, devices and options."""

import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from cryptors.memory import PlaintextMemory
from licensing.errors import WeightlockError
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.cryptors.onnx_setting import (
    ONNX,
    OUTPUT,
    X,
    assert_refused,
    assert_same_outputs,
    lock,
    write_external,
    write_inside,
)
from tests.onnx_models import ExternalWriter, inside, write_graph

# Memory.


LEVELS = [onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL]


def options_of(level: Any, prepacking: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.add_session_config_entry("session.disable_prepacking", "0" if prepacking else "1")
    return options


@pytest.fixture
def wiped(monkeypatch: pytest.MonkeyPatch) -> list[memoryview]:
    """Returns views of the memory that models are decrypted into, which outlive it. Models are taken apart always."""
    views: list[memoryview] = []

    def remember(size: int) -> PlaintextMemory:
        memory = PlaintextMemory(size)
        views.append(memory.view[:])
        return memory

    monkeypatch.setattr("cryptors.onnx_cryptor.PlaintextMemory", remember)
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_MODEL_BYTES", 0)
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_VALUES_BYTES", 1024)
    return views


def assert_needs_nothing_of(views: list[memoryview], session: Any, expected: Any) -> None:
    assert all(bytes(view) == bytes(len(view)) for view in views), "wiped, also for those who still hold it"
    views.clear()
    gc.collect()
    for _ in range(3):
        assert session.run(None, {"x": X})[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize("level", LEVELS, ids=["not optimized", "optimized"])
@pytest.mark.parametrize("prepacking", [True, False], ids=["packed", "not packed"])
def test_session_does_not_need_the_memory_that_is_wiped(
    onnx_folder: Path, wiped: list[memoryview], level: Any, prepacking: bool
) -> None:
    """ONNX Runtime documents that it copies. If it did not, outputs would come from zeros, or from freed memory."""
    model = write_external(onnx_folder)
    locked = lock(model)
    expected = onnxruntime.InferenceSession(model, options_of(level, prepacking)).run(None, {"x": X})[0]
    session = ONNX.load(locked, CONTENT_KEY, sess_options=options_of(level, prepacking))
    assert len(wiped) == 2
    assert_needs_nothing_of(wiped, session, expected)


def test_session_of_one_file_does_not_need_the_memory_that_is_wiped(onnx_folder: Path, wiped: list[memoryview]) -> None:
    model = write_inside(onnx_folder)
    expected = onnxruntime.InferenceSession(model).run(None, {"x": X})[0]
    session = ONNX.load(lock(model), CONTENT_KEY)
    assert len(wiped) == 1
    assert_needs_nothing_of(wiped, session, expected)


KINDS = [
    *("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"),
    *("INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "BOOL"),
]


@pytest.mark.parametrize("external", [False, True], ids=["one file", "external data"])
@pytest.mark.parametrize("kind", KINDS)
def test_types_of_large_initializers(
    onnx_folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, external: bool
) -> None:
    """NumPy lacks some of ONNX's types; their bits go through unchanged, wherever they lie."""
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_MODEL_BYTES", 0)
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_VALUES_BYTES", 16)
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(kind))
    table = np.arange(64).reshape(16, 4).astype(dtype)
    nodes = [
        helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["f", "i"], ["y"]),
    ]
    rows = {"i": np.array([0, 7, 15])}
    tensor = ExternalWriter(onnx_folder)("w", table) if external else inside("w", table)
    model = write_graph(onnx_folder / "m.onnx", nodes, [tensor], rows, (1, [3, 4]), versions=(19, 9))
    found = ONNX.load(lock(model), CONTENT_KEY).run(None, rows)[0]
    assert np.array_equal(found, table.astype(np.float32)[[0, 7, 15]])


def test_values_at_every_place_in_one_file(onnx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of eight bytes lie at multiples of eight, wherever the file had them; names shift them here."""
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_MODEL_BYTES", 0)
    names = ["w" * length for length in range(1, 17)]
    tables = [np.random.default_rng(number).standard_normal((2**13, 1)) for number in range(16)]
    model = write_graph(
        onnx_folder / "m.onnx",
        [helper.make_node("Concat", [*names, "x"], ["y"], axis=1)],
        [inside(name, table) for name, table in zip(names, tables, strict=True)],
        {"x": tables[0]},
        (TensorProto.DOUBLE, [2**13, 17]),
    )
    found = ONNX.load(lock(model), CONTENT_KEY).run(None, {"x": tables[0]})[0]
    assert np.array_equal(found, np.concatenate([*tables, tables[0]], axis=1))


def test_file_that_only_onnx_runtime_can_read(onnx_folder: Path, wiped: list[memoryview]) -> None:
    """A group of fields, as protocol buffers had them once, is nothing that a model could have; nor does it harm."""
    model = write_inside(onnx_folder)
    expected = onnxruntime.InferenceSession(model).run(None, {"x": X})[0]
    with open(model, "ab") as file:
        file.write(bytes([100 << 3 & 0x7F | 0x80 | 3, 100 >> 4, 100 << 3 & 0x7F | 0x80 | 4, 100 >> 4]))
    locked = write_container(
        onnx_folder.parent / "model.locked", {"m.onnx": model.read_bytes()}, entry="m.onnx", model_type="onnx"
    )
    assert_needs_nothing_of(wiped, ONNX.load(locked, CONTENT_KEY), expected)


def test_types_of_less_than_a_byte(onnx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two numbers share a byte."""
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_VALUES_BYTES", 16)
    (onnx_folder / "w.bin").write_bytes(bytes(range(32)))
    table = ExternalWriter(onnx_folder).tensor("w", TensorProto.INT4, [16, 4], location="w.bin")
    nodes = [helper.make_node("DequantizeLinear", ["w", "scale"], ["f"]), helper.make_node("Gather", ["f", "i"], ["y"])]
    rows = {"i": np.array([0, 7, 15])}
    tensors = [table, inside("scale", np.array(0.5, np.float32))]
    model = write_graph(onnx_folder / "m.onnx", nodes, tensors, rows, (1, [3, 4]), versions=(21, 10))
    assert_same_outputs(model, lock(model), rows)


def test_session_options_serve_one_model(onnx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would go on naming the memory of the first one."""
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_VALUES_BYTES", 16)
    locked, options = lock(write_external(onnx_folder)), onnxruntime.SessionOptions()
    first = ONNX.load(locked, CONTENT_KEY, sess_options=options)
    error = assert_refused("usage", ONNX.load, locked, CONTENT_KEY, sess_options=options)
    assert error.hints == ("make new ones for each model",)
    assert first.run(None, {"x": X})[0].shape == (2, 64)


def test_session_options_of_models_in_one_file_can_be_shared(
    onnx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_MODEL_BYTES", 0)
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_VALUES_BYTES", 16)
    model = write_inside(onnx_folder)
    locked, options = lock(model), onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[0]
    for _ in range(2):
        session = ONNX.load(locked, CONTENT_KEY, sess_options=options)
        assert session.get_session_options().graph_optimization_level == LEVELS[0]
        assert session.run(None, {"x": X})[0].shape == (2, 64)


# Sessions and inputs.


def test_one_file_comes_back_byte_for_byte(onnx_folder: Path) -> None:
    model = write_inside(onnx_folder)
    plaintext = ONNX.decrypt(lock(model), CONTENT_KEY)
    assert type(plaintext) is bytes
    assert plaintext == model.read_bytes()


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:-1", "", "CPU"])
def test_device_that_does_not_exist(onnx_folder: Path, device: str) -> None:
    locked = lock(write_external(onnx_folder))
    assert_refused("usage", ONNX.load, locked, CONTENT_KEY, device=device)


def test_providers(onnx_folder: Path) -> None:
    locked = lock(write_external(onnx_folder))
    session = ONNX.load(locked, CONTENT_KEY, device="ignored", providers=["CPUExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"]


@pytest.mark.parametrize("external", [False, True], ids=["one file", "external data"])
def test_providers_are_given_when_a_model_is_loaded(onnx_folder: Path, external: bool) -> None:
    """ONNX Runtime would make the session again, from bytes and from memory that are gone."""
    model = write_external(onnx_folder) if external else write_inside(onnx_folder)
    session = ONNX.load(lock(model), CONTENT_KEY)
    error = assert_refused("usage", session.set_providers, ["CPUExecutionProvider"])
    assert error.hints == ("give load() the providers",)
    assert session.run(None, {"x": X})[0].shape == (2, 64)


def test_cuda_without_cuda(onnx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answering on the CPU instead would be a surprise of another kind."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    locked = lock(write_external(onnx_folder))
    for device in ("cuda", "cuda:0"):
        error = assert_refused("framework_missing", ONNX.load, locked, CONTENT_KEY, device=device)
        assert "onnxruntime-gpu" in error.hints[0]


def test_inputs(onnx_folder: Path) -> None:
    session = ONNX.load(lock(write_external(onnx_folder)), CONTENT_KEY)
    named = ONNX.infer(session, {"x": X}, "cpu")
    assert list(named) == ["y"]
    assert ONNX.infer(session, {"arr_0": X}, "cpu")["y"].tobytes() == named["y"].tobytes()
    error = assert_refused("usage", ONNX.infer, session, {"images": X}, "cpu")
    assert (error.message, error.hints) == ("the model has no input 'images'", ("it has 'x'",))
    for wrong in ({}, {"arr_1": X}, {"x": X.astype(np.float64)}, {"x": X[:, :1]}, {"x": np.array(["text"])}):
        with pytest.raises(WeightlockError) as caught:
            ONNX.infer(session, wrong, "cpu")
        assert caught.value.reason in ("model_rejected", "usage")


def test_model_that_onnx_runtime_does_not_accept(onnx_folder: Path) -> None:
    nodes = [helper.make_node("NoSuchOperator", ["x"], ["y"])]
    locked = lock(write_graph(onnx_folder / "m.onnx", nodes, [], {"x": X}, OUTPUT))
    error = assert_refused("model_rejected", ONNX.load, locked, CONTENT_KEY)
    assert "NoSuchOperator" in error.message
    assert ONNX.decrypt(locked, CONTENT_KEY) == (onnx_folder / "m.onnx").read_bytes()


def test_onnx_runtime_is_told_to_send_nothing(onnx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    ONNX.load(lock(write_external(onnx_folder)), CONTENT_KEY)
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
