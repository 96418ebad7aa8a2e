"""OpenVINO: IRs that are whole, sound and alone; memory that is OpenVINO's; and nothing that it writes or sends."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptors import CryptorFactory, TensorSpec, load_model, lock_derived
from cryptors.detect import detect_type
from cryptors.model_type import ModelType
from cryptors.openvino_runtime import import_openvino
from licensing.errors import WeightlockError
from tests.contract.cases_openvino import ir_outputs, make_ir, run_ir
from tests.cryptors.containers import CONTENT_KEY
from tests.refusals import assert_refused

OPENVINO = CryptorFactory.instance("openvino")
WIDTH = 4


@pytest.fixture
def ir(tmp_path: Path) -> Path:
    """The `.xml` file of an IR, in a directory of its own."""
    (tmp_path / "model").mkdir()
    return make_ir(tmp_path / "model", WIDTH)


def lock(model: Path) -> Path:
    locked = model.parent.parent / "model.locked"
    OPENVINO.encrypt(model, CONTENT_KEY, locked)
    return locked


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# What belongs to a model.


def test_what_is_beside_the_two_files_stays_outside(ir: Path) -> None:
    (ir.parent / "other.bin").write_bytes(b"other")
    assert OPENVINO.encrypt(ir, CONTENT_KEY, ir.parent.parent / "model.locked").files == 2


def test_directory_holds_all_files(ir: Path) -> None:
    (ir.parent / "tokenizer.json").write_text("{}")
    (ir.parent / "labels.xml").write_text("<labels/>")
    header = OPENVINO.encrypt(ir.parent, CONTENT_KEY, ir.parent.parent / "model.locked")
    assert header.files == 4


def test_weights_that_are_missing(ir: Path) -> None:
    ir.with_suffix(".bin").unlink()
    for model in (ir, ir.parent):
        error = assert_refused("model_source_invalid", OPENVINO.encrypt, model, CONTENT_KEY, ir.parent.parent / "x")
        assert "'network.bin' are missing" in error.message
    assert not (ir.parent.parent / "x").exists()


def test_weights_that_are_cut_short(ir: Path) -> None:
    weights = ir.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-1])
    error = assert_refused("model_source_invalid", OPENVINO.encrypt, ir, CONTENT_KEY, ir.parent.parent / "x")
    assert "shorter" in error.message


def test_two_irs_in_a_directory(ir: Path) -> None:
    (ir.parent / "second.xml").write_bytes(ir.read_bytes())
    lock(ir)
    error = assert_refused("model_type_mismatch", OPENVINO.encrypt, ir.parent, CONTENT_KEY, ir.parent.parent / "x")
    assert "something else" in error.message


def test_graph_without_weights(tmp_path: Path) -> None:
    """One file is the whole model."""
    openvino, ops = import_openvino(), import_openvino().opset13
    x = ops.parameter([-1, 2], openvino.Type.f32, name="x")
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "relu.xml"
    openvino.save_model(openvino.Model([ops.result(ops.relu(x), name="y")], [x], "relu"), path)
    path.with_suffix(".bin").unlink(missing_ok=True)
    loaded = OPENVINO.load(lock(path), CONTENT_KEY)
    assert OPENVINO.infer(loaded, {"x": np.array([[-1, 2]], np.float32)}, "cpu")["y"].tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('<?xml version="1.0"?>', '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaa">]>'),
        ("</net>", ""),
        ("<edges>", "<edges"),
        ('offset="0"', 'offset="-1"'),
        ('offset="0"', ""),
        ('offset="0"', f'offset="{"9" * 5000}"'),
        ('size="64"', 'size="64.0"'),
    ],
    ids=["entities", "cut short", "no XML", "negative", "no offset", "huge number", "no number"],
)
def test_xml_that_is_not_sound(ir: Path, old: str, new: str) -> None:
    edit(ir, old, new)
    (ir.parent.parent / "out").mkdir()
    reasons = ("model_source_invalid", "model_type_mismatch")
    with pytest.raises(WeightlockError) as caught:
        OPENVINO.encrypt(ir, CONTENT_KEY, ir.parent.parent / "out" / "x")
    assert caught.value.reason in reasons
    assert os.listdir(ir.parent.parent / "out") == []


def test_other_xml(tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_text('<?xml version="1.0"?><svg version="1.1"></svg>')
    assert_refused("model_type_mismatch", OPENVINO.encrypt, tmp_path / "m.xml", CONTENT_KEY, tmp_path / "x")


def test_types_are_told(ir: Path) -> None:
    assert detect_type(ir) is ModelType.MODEL_OPENVINO
    assert detect_type(ir.parent) is ModelType.MODEL_OPENVINO


# What OpenVINO does not accept.


REJECTED = {
    "operator": ('type="ReLU"', 'type="NoSuchOperator"', "NoSuchOperator"),
    "operator of somebody else": ('type="ReLU" version="opset1"', 'type="Mine" version="mine"', "Mine"),
    "opset of tomorrow": ('type="ReLU" version="opset1"', 'type="ReLU" version="opset99"', "opset99"),
    "format of tomorrow": ('version="11"', 'version="99"', "Unable to read the model"),
    "shape": ('shape="4, 4"', 'shape="4, 5"', "inconsistent"),
}


@pytest.mark.parametrize("what", REJECTED)
def test_model_that_openvino_does_not_accept(ir: Path, what: str) -> None:
    old, new, said = REJECTED[what]
    edit(ir, old, new)
    locked, open_before = lock(ir), os.listdir("/proc/self/fd")
    for call in (OPENVINO.load, OPENVINO.decrypt):
        error = assert_refused("model_rejected", call, locked, CONTENT_KEY)
        assert said in error.message
        assert "core.cpp" not in error.message
        assert isinstance(error.__cause__, RuntimeError)
    assert os.listdir("/proc/self/fd") == open_before


def test_operators_of_a_library_that_is_not_there(ir: Path) -> None:
    locked = lock(ir)
    error = assert_refused("model_rejected", OPENVINO.load, locked, CONTENT_KEY, extensions=["no_such_library.so"])
    assert "no_such_library.so" in error.message


# Devices and options.


def test_devices(ir: Path) -> None:
    locked = lock(ir)
    for device in ("cuda", "cuda:0", "CPU", "gpu"):
        error = assert_refused("usage", OPENVINO.load, locked, CONTENT_KEY, device=device)
        assert repr(device) in error.message
        assert_refused("usage", OPENVINO.run_options, device, None, False)
    error = assert_refused("framework_missing", OPENVINO.load, locked, CONTENT_KEY, device_name="NPU.7")
    assert "CPU" in error.hints[0]
    for name in ("AUTO", "HETERO:CPU", "CPU"):
        outputs = ir_outputs(OPENVINO.load(locked, CONTENT_KEY, device_name=name))
        assert outputs["y"].tobytes() == run_ir(ir)["y"].tobytes()


def test_config(ir: Path) -> None:
    locked = lock(ir)
    loaded = OPENVINO.load(locked, CONTENT_KEY, config={"INFERENCE_NUM_THREADS": 1})
    assert loaded.get_property("INFERENCE_NUM_THREADS") == 1
    error = assert_refused("model_rejected", OPENVINO.load, locked, CONTENT_KEY, config={"NO_SUCH": 1})
    assert "NO_SUCH" in error.message


def test_openvino_keeps_no_cache(ir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds weights, and the callbacks that encrypt it are given the graph alone."""
    monkeypatch.chdir(tmp_path)
    properties, locked = import_openvino().properties, lock(ir)
    callbacks: Any = {"CACHE_ENCRYPTION_CALLBACKS": [lambda data: data, lambda data: data]}
    configs: list[Any] = [
        {"CACHE_DIR": "cache"},
        {properties.cache_dir: "cache"},
        {"CACHE_DIR": "cache", **callbacks},
        {"DEVICE_PROPERTIES": {"CPU": {"CACHE_DIR": "cache"}}},
        dict([properties.device.properties({"CPU": {"CACHE_DIR": "cache"}})]),
    ]
    for config in configs:
        error = assert_refused("usage", OPENVINO.load, locked, CONTENT_KEY, config=config)
        assert "'CACHE_DIR'" in error.message
        assert "lock_derived" in error.hints[0]
    assert not (tmp_path / "cache").exists()


def test_cache_of_openvino_holds_weights_whatever_encrypts_it(ir: Path, tmp_path: Path) -> None:
    """Should this fail one day, OpenVINO's cache may be allowed with callbacks."""
    openvino = import_openvino()
    weight = np.random.default_rng(5).standard_normal((64, 64)).astype(np.float32)
    ops = openvino.opset13
    x = ops.parameter([-1, 64], openvino.Type.f32, name="x")
    model = openvino.Model([ops.result(ops.matmul(x, ops.constant(weight), False, True))], [x], "m")
    encrypted: list[bytes] = []

    def encrypt(data: bytes) -> bytes:
        encrypted.append(data)
        return bytes(byte ^ 0x55 for byte in data)

    config = {"CACHE_DIR": str(tmp_path / "cache"), "CACHE_ENCRYPTION_CALLBACKS": [encrypt, encrypt]}
    openvino.Core().compile_model(model, "CPU", config)
    (blob,) = (tmp_path / "cache").iterdir()
    assert encrypted, "the callbacks were used"
    assert weight[7].tobytes() in blob.read_bytes()


@pytest.mark.parametrize("variable", ["OV_ENABLE_SERIALIZE_TRACING", "OV_ENABLE_VISUALIZE_TRACING"])
def test_environment_that_makes_openvino_write_models(
    ir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    locked = lock(ir)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv(variable, "1")
    for call in (OPENVINO.load, OPENVINO.decrypt):
        error = assert_refused("usage", call, locked, CONTENT_KEY)
        assert variable in error.message
    assert os.listdir() == []
    import_openvino().Core().read_model(ir)
    assert os.listdir() != [], "OpenVINO does write it, where nobody refuses"


@pytest.mark.slow
def test_import_sends_nothing_and_writes_nothing(ir: Path, tmp_path: Path) -> None:
    """`import openvino` alone would write the identity that it sends to the user's home."""
    code = """
import json, sys
from cryptors import load_model
load_model(sys.argv[1], crypt_key=bytes(range(32)))
print(json.dumps([name for name in sys.modules if "telemetry" in name and "openvino_" in name]))
"""
    home = tmp_path / "home"
    home.mkdir()
    ci = {"CI", "TF_BUILD", "JENKINS_URL"}  # Where one of them is set, OpenVINO sends nothing by itself.
    environment = {**{name: value for name, value in os.environ.items() if name not in ci}, "HOME": str(home)}
    command = [sys.executable, "-c", code, str(lock(ir))]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
    assert os.listdir(home) == []


# Memory, names and outputs.


@pytest.mark.parametrize("call", [OPENVINO.load, OPENVINO.decrypt], ids=["load", "decrypt"])
def test_model_owns_its_weights(tmp_path: Path, call: Callable[..., Any]) -> None:
    """The tensor that was decrypted into is gone; a model that did not own its memory would read other data now."""
    (tmp_path / "model").mkdir()
    ir = make_ir(tmp_path / "model", 700)
    loaded = call(lock(ir), CONTENT_KEY)
    gc.collect()
    openvino = import_openvino()
    others = [openvino.Tensor(openvino.Type.u8, openvino.Shape([ir.with_suffix(".bin").stat().st_size])) for _ in "123"]
    for other in others:
        other.data[:] = 255
    assert ir_outputs(loaded)["y"].tobytes() == run_ir(ir)["y"].tobytes()


def test_signature_and_inputs(ir: Path) -> None:
    loaded = OPENVINO.load(lock(ir), CONTENT_KEY)
    signature = OPENVINO.signature(loaded)
    assert signature.inputs == (TensorSpec("x", "float32", (None, WIDTH)),)
    assert signature.outputs == (TensorSpec("y", "float32", (None, 3)),)
    x = np.ones((5, WIDTH), np.float32)
    expected = OPENVINO.infer(loaded, {"x": x}, "cpu")["y"]
    assert expected.shape == (5, 3)
    assert OPENVINO.infer(loaded, {"arr_0": x}, "cpu")["y"].tobytes() == expected.tobytes()
    assert_refused("usage", OPENVINO.infer, loaded, {"z": x}, "cpu")
    error = assert_refused("model_rejected", OPENVINO.infer, loaded, {"x": x[:, :1]}, "cpu")
    assert "shape" in error.message


def test_ports_of_several_names_and_types(tmp_path: Path) -> None:
    openvino, ops = import_openvino(), import_openvino().opset13
    a = ops.parameter([-1, 2], openvino.Type.i64, name="a")
    b = ops.parameter([2, 2], openvino.Type.f16, name="b")
    a.output(0).set_names({"serving_default_a:0", "a"})
    b.output(0).set_names({"b"})
    total = ops.add(ops.convert(a, "f32"), ops.convert(b, "f32"))
    (tmp_path / "model").mkdir()
    openvino.save_model(openvino.Model([ops.result(total)], [a, b], "m"), tmp_path / "model" / "m.xml")
    first, second = (OPENVINO.load(locked, CONTENT_KEY) for locked in [lock(tmp_path / "model" / "m.xml")] * 2)
    signature = OPENVINO.signature(first)
    assert signature.inputs == (TensorSpec("a", "int64", (None, 2)), TensorSpec("b", "float16", (2, 2)))
    assert OPENVINO.signature(second) == signature, "also where the file does not name an output"
    found = OPENVINO.infer(first, {"a": np.ones((2, 2), np.int64), "b": np.ones((2, 2), np.float16)}, "cpu")
    assert [array.tolist() for array in found.values()] == [[[2, 2], [2, 2]]]


# Compiled models.


def test_compiled_model_that_is_kept_locked(ir: Path) -> None:
    locked = lock(ir)
    derived = locked.with_suffix(".compiled")
    blob = OPENVINO.load(locked, CONTENT_KEY).export_model().getvalue()
    lock_derived(locked, blob, derived, CONTENT_KEY)
    loaded = load_model(derived, crypt_key=CONTENT_KEY)
    gc.collect()
    assert ir_outputs(loaded)["y"].tobytes() == run_ir(ir)["y"].tobytes()
    error = assert_refused("model_type_mismatch", OPENVINO.decrypt, derived, CONTENT_KEY)
    assert "compiled" in error.message


def test_compiled_model_of_another_version(ir: Path, tmp_path: Path) -> None:
    blob = OPENVINO.load(lock(ir), CONTENT_KEY).export_model().getvalue()
    changed = blob.replace(b"ov=20", b"ov=19")
    assert changed != blob
    (tmp_path / "m.blob").write_bytes(changed)
    OPENVINO.encrypt(tmp_path / "m.blob", CONTENT_KEY, tmp_path / "m.locked")
    assert_refused("model_rejected", OPENVINO.load, tmp_path / "m.locked", CONTENT_KEY)
