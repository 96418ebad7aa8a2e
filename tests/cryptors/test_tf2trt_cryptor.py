"""TF-TRT: what it converts travels unchanged, and is refused by a TensorFlow that cannot run it.

No TensorFlow with TensorRT is here. tests/standins/tensorrt_enabled_standin.py says what its stand-in shows.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.fernet import Fernet

from cryptors import CryptorFactory, load_model
from cryptors.detect import detect_type
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel
from cryptors.tensorflow_inference import import_tensorflow
from cryptors.unpack import unpack
from tests.cryptors.containers import CONTENT_KEY
from tests.cryptors.tensorflow_setting import TENSORFLOW, assert_refused, files_of, leaving_nothing
from tests.standins.tensorrt_enabled_standin import tensorrt_enabled, write_converted, write_unused_engine

TF2TRT = CryptorFactory.instance("tf2trt")
ENGINE = b"ftrt" + np.random.default_rng(3).bytes(50_000)


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with leaving_nothing(tmp_path, monkeypatch):
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_converted(tmp_path_factory.mktemp("written"), ENGINE)


@pytest.fixture
def model(written: Path, tmp_path: Path) -> Path:
    """A model with an engine, which the test may change."""
    return Path(shutil.copytree(written, tmp_path / "network"))


def lock(model: Path) -> Path:
    TF2TRT.encrypt(model, CONTENT_KEY, model.parent / "network.locked")
    return model.parent / "network.locked"


def test_model_and_engine_come_back_byte_for_byte(model: Path, tmp_path: Path) -> None:
    assert detect_type(model) is ModelType.MODEL_TF2TRT
    assert (model / "assets" / "trt-serialized-engine.TRTEngineOp_000_000").read_bytes() == ENGINE
    locked = lock(model)
    assert ENGINE[100:200] not in locked.read_bytes()
    with LockedModel(locked, CONTENT_KEY) as opened:
        unpack(opened, tmp_path / "back")
    assert files_of(tmp_path / "back") == files_of(model)


def test_tensorflow_without_tensorrt_decrypts_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*arguments: Any) -> None:
        raise AssertionError("the model was decrypted")

    monkeypatch.setattr("cryptors.tensorflow_cryptor.PlaintextFolder", read)
    locked = lock(model)
    for call in (TF2TRT.load, TF2TRT.decrypt):
        error = assert_refused("framework_unsuitable", call, locked, CONTENT_KEY)
        version = import_tensorflow().__version__
        assert error.message == f"this TensorFlow ({version}) was built without TensorRT, which models of TF-TRT need"
        assert error.hints[0] == "TensorFlow 2.17 was the last release with it, in its builds for CUDA on Linux"
    assert_refused("framework_unsuitable", load_model, locked, crypt_key=CONTENT_KEY)
    assert_refused("framework_unsuitable", TF2TRT.run_options, "cpu", None, False)


def test_libraries_of_tensorrt_that_are_not_there(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow 2.17 without them ends the process when a model needs them."""
    tensorflow = import_tensorflow()
    monkeypatch.setattr(tensorflow.sysconfig, "get_build_info", lambda: {"is_tensorrt_build": True})
    from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils

    monkeypatch.setattr(_pywrap_py_utils, "get_linked_tensorrt_version", lambda: (8, 6, 1))
    error = assert_refused("framework_missing", TF2TRT.load, lock(model), CONTENT_KEY)
    needed = "libraries of TensorRT 8.6.1, which models of TF-TRT need"
    assert error.message == f"TensorFlow does not find the {needed}"


def test_stand_in_has_no_operation_of_tensorrt(model: Path) -> None:
    """So does a TensorFlow that says that it was built with TensorRT, and whose libraries are not there."""
    with tensorrt_enabled():
        error = assert_refused("model_rejected", TF2TRT.load, lock(model), CONTENT_KEY)
    operation = "CreateTRTResourceHandle"  # The first that loading comes upon, before TRTEngineOp.
    assert error.message == f"the model needs the operation {operation!r}, which this TensorFlow does not have"


def test_with_a_stand_in_loading_goes_on(tmp_path: Path) -> None:
    tensorflow = import_tensorflow()
    network = tensorflow.Module()
    network.run = tensorflow.function(lambda x: {"y": x * 2}, [tensorflow.TensorSpec([None], name="x")])
    tensorflow.saved_model.save(network, str(tmp_path / "network"), {"serving_default": network.run})
    assert detect_type(tmp_path / "network") is ModelType.MODEL_TENSORFLOW
    write_unused_engine(tmp_path / "network")
    assert detect_type(tmp_path / "network") is ModelType.MODEL_TF2TRT
    with tensorrt_enabled():
        assert TF2TRT.run_options("cpu", None, False) == {"device": "cpu"}
        loaded = TF2TRT.load(lock(tmp_path / "network"), CONTENT_KEY, device="cpu")
        assert [each.name for each in TF2TRT.signature(loaded).inputs] == ["x"]
        found = TF2TRT.infer(loaded, {"x": np.ones(2, np.float32)}, "cpu")
    assert found["y"].tolist() == [2.0, 2.0]


def test_types_are_not_mixed_up(model: Path, tmp_path: Path) -> None:
    assert_refused("model_type_mismatch", TENSORFLOW.encrypt, model, CONTENT_KEY, tmp_path / "other.locked")
    assert_refused("model_type_mismatch", TENSORFLOW.load, lock(model), CONTENT_KEY)


def test_missing_part_of_the_variables_is_found_by_the_vendor(model: Path) -> None:
    (model / "variables" / "variables.index").unlink()
    assert_refused("model_source_invalid", lock, model)


def test_options_of_run(model: Path) -> None:
    with tensorrt_enabled():
        assert_refused("usage", TF2TRT.run_options, "cpu", "net.py:net", False)
        assert_refused("usage", TF2TRT.run_options, "cpu", None, True)
        assert_refused("framework_missing", TF2TRT.run_options, "cuda:0", None, False)


def test_one_file_is_no_model_of_tf_trt(tmp_path: Path) -> None:
    key = Fernet.generate_key()
    (tmp_path / "model.crt").write_bytes(Fernet(key).encrypt(b"something"))
    assert_refused("model_type_mismatch", TF2TRT.load, tmp_path / "model.crt", key)
