"""SavedModels: signatures, tables and shards, what is missing or foreign in them, and devices."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptors.reader import LockedModel
from cryptors.signature import TensorSpec
from cryptors.tensorflow_inference import import_tensorflow
from cryptors.unpack import unpack
from tests.cryptors.containers import CONTENT_KEY
from tests.cryptors.tensorflow_setting import (
    TENSORFLOW,
    X,
    assert_refused,
    files_of,
    leaving_nothing,
    lock,
    lock_files,
    saved_model_outputs,
    write_saved_model,
)
from tests.standins.tensorrt_enabled_standin import change_saved_model

SHARD = "variables/variables.data-00000-of-00001"


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with leaving_nothing(tmp_path, monkeypatch):
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_saved_model(tmp_path_factory.mktemp("written") / "network")


@pytest.fixture
def model(written: Path, tmp_path: Path) -> Path:
    """A SavedModel that the test may change."""
    return Path(shutil.copytree(written, tmp_path / "network"))


# What a SavedModel can have.


def test_signatures_and_tables_work_when_the_assets_are_gone(model: Path) -> None:
    expected = saved_model_outputs(import_tensorflow().saved_model.load(str(model)))
    locked = lock(model)
    shutil.rmtree(model)
    loaded = TENSORFLOW.load(locked, CONTENT_KEY)
    assert list(loaded.signatures) == ["serving_default", "words"]
    assert saved_model_outputs(loaded) == expected
    assert expected["ids"] == [2, 0, 3]


def test_file_that_is_not_of_the_model_is_kept(model: Path, tmp_path: Path) -> None:
    (model / "assets.extra").mkdir()
    (model / "assets.extra" / "notes.txt").write_text("trained in June")
    locked = lock(model)
    assert saved_model_outputs(TENSORFLOW.load(locked, CONTENT_KEY))["ids"] == [2, 0, 3]
    with LockedModel(locked, CONTENT_KEY) as opened:
        unpack(opened, tmp_path / "back")
    assert files_of(tmp_path / "back") == files_of(model)


def test_variables_in_several_files(tmp_path: Path) -> None:
    tensorflow = import_tensorflow()
    network = tensorflow.Module()
    network.variables_in_order = [tensorflow.Variable(np.full(64, number, np.float32)) for number in range(4)]
    network.total = tensorflow.function(lambda: {"y": tensorflow.add_n(network.variables_in_order)}, [])
    policy = tensorflow.train.experimental.MaxShardSizePolicy(max_shard_size=300)
    options = tensorflow.saved_model.SaveOptions(experimental_sharding_callback=policy)
    tensorflow.saved_model.save(network, str(tmp_path / "network"), {"serving_default": network.total}, options)
    shards = sorted((tmp_path / "network" / "variables").glob("*.data-*"))
    assert len(shards) > 2
    loaded = TENSORFLOW.load(lock(tmp_path / "network"), CONTENT_KEY)
    assert TENSORFLOW.infer(loaded, {}, "cpu")["y"].tolist() == [6.0] * 64
    shards[1].unlink()
    error = assert_refused("model_source_invalid", lock, tmp_path / "network")
    assert error.message == f"the model lacks 'variables/{shards[1].name}', which belongs to its variables"


def test_graph_of_tensorflow_1_without_variables(tmp_path: Path) -> None:
    """It has an empty directory for its variables, which a locked model does not keep."""
    v1 = import_tensorflow().compat.v1
    (tmp_path / "words.txt").write_text("alpha\nbeta\n")
    with v1.Graph().as_default(), v1.Session() as session:
        file = v1.constant(str(tmp_path / "words.txt"))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, file)
        initializer = v1.lookup.TextFileInitializer(file, "string", -2, "int64", -1)
        table = v1.lookup.StaticHashTable(initializer, -1)
        words = v1.placeholder("string", [None], "words")
        signature = v1.saved_model.predict_signature_def({"words": words}, {"ids": table.lookup(words)})
        session.run(v1.tables_initializer())
        builder = v1.saved_model.Builder(str(tmp_path / "network"))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"look_up": signature},
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=v1.tables_initializer(),
        )
        builder.save()
    loaded = TENSORFLOW.load(lock(tmp_path / "network"), CONTENT_KEY, tags=["serve"])
    assert TENSORFLOW.infer(loaded, {"words": np.array(["beta", "omega"])}, "cpu")["ids"].tolist() == [1, -1]
    locked = tmp_path / "network.locked"
    assert_refused("model_rejected", TENSORFLOW.load, locked, CONTENT_KEY, tags=["train"])


def test_exported_keras_model(tmp_path: Path) -> None:
    import keras

    network = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3)])
    network.export(tmp_path / "network", verbose=False)
    loaded = TENSORFLOW.load(lock(tmp_path / "network"), CONTENT_KEY)
    (found,) = TENSORFLOW.infer(loaded, {"x": X}, "cpu").values()
    assert np.allclose(found, network(X).numpy(), rtol=1e-5)


# What is missing or foreign.


@pytest.mark.parametrize("missing", [SHARD, "variables/variables.index"])
def test_missing_part_of_the_variables_is_found_by_the_vendor(model: Path, missing: str) -> None:
    (model / missing).unlink()
    error = assert_refused("model_source_invalid", lock, model)
    assert error.message == f"the model lacks {missing!r}, which belongs to its variables"


@pytest.mark.parametrize(
    ("path", "length"),
    [(SHARD, 20), (SHARD, 0), (SHARD, None), ("variables/variables.index", 50), ("saved_model.pb", 1000),
     ("saved_model.pb", None), ("assets/vocabulary.txt", None)],
)  # fmt: skip
def test_damage_that_only_tensorflow_finds(model: Path, tmp_path: Path, path: str, length: int | None) -> None:
    """A vendor can lock a model that was damaged before."""
    files = files_of(model)
    if length is None:
        del files[path]
    else:
        files[path] = files[path][:length]
    error = assert_refused("model_rejected", TENSORFLOW.load, lock_files(tmp_path, files), CONTENT_KEY)
    assert error.message.startswith("TensorFlow could not load the model: ")
    assert error.__cause__ is not None
    assert "weightlock-" not in error.message


def test_operation_that_is_not_registered(model: Path) -> None:
    def change(graph: Any) -> None:
        for node in (node for function in graph.library.function for node in function.node_def if node.op == "Relu"):
            node.op = "VendorsOwnRelu"

    locked = lock(change_saved_model(model, change))
    error = assert_refused("model_rejected", TENSORFLOW.load, locked, CONTENT_KEY)
    assert error.message == "the model needs the operation 'VendorsOwnRelu', which this TensorFlow does not have"
    assert "tf.load_op_library" in error.hints[0]


def test_model_of_a_newer_tensorflow(model: Path) -> None:
    """TensorFlow loads it as long as it knows the operations."""

    def change(graph: Any) -> None:
        graph.versions.producer = 99999

    loaded = TENSORFLOW.load(lock(change_saved_model(model, change)), CONTENT_KEY)
    assert saved_model_outputs(loaded)["ids"] == [2, 0, 3]


def test_memory_runs_out(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing about the model."""

    def fail(*arguments: Any) -> None:
        raise MemoryError

    locked = lock(model)
    monkeypatch.setattr(import_tensorflow().saved_model, "load", fail)
    with pytest.raises(MemoryError):
        TENSORFLOW.load(locked, CONTENT_KEY)


# Signatures, inputs and devices.


def test_signature(model: Path) -> None:
    signature = TENSORFLOW.signature(TENSORFLOW.load(lock(model), CONTENT_KEY))
    assert signature.inputs == (TensorSpec("x", "float32", (None, 4)),)
    assert signature.outputs == (TensorSpec("y", "float32", (None, 3)),)


def test_inputs(model: Path) -> None:
    loaded = TENSORFLOW.load(lock(model), CONTENT_KEY)
    named = TENSORFLOW.infer(loaded, {"x": X}, "cpu")["y"]
    assert TENSORFLOW.infer(loaded, {"arr_0": X}, "cpu")["y"].tobytes() == named.tobytes()
    assert_refused("usage", TENSORFLOW.infer, loaded, {"images": X}, "cpu")
    assert_refused("usage", TENSORFLOW.infer, loaded, {}, "cpu")
    for wrong in (X.astype(np.float64), X[:, :2], np.array(["text"]), np.array([{}], dtype=object)):
        error = assert_refused("model_rejected", TENSORFLOW.infer, loaded, {"x": wrong}, "cpu")
        assert error.message.startswith("TensorFlow could not run the model: ")


def test_error_within_a_graph_says_what_is_wrong(tmp_path: Path) -> None:
    """TensorFlow's message begins with where it happened."""
    tensorflow = import_tensorflow()
    network = tensorflow.Module()
    network.check = tensorflow.function(
        lambda x: {"y": tensorflow.reshape(x, [7])}, [tensorflow.TensorSpec([None, None], name="x")]
    )
    tensorflow.saved_model.save(network, str(tmp_path / "network"), {"serving_default": network.check})
    loaded = TENSORFLOW.load(lock(tmp_path / "network"), CONTENT_KEY)
    error = assert_refused("model_rejected", TENSORFLOW.infer, loaded, {"x": X}, "cpu")
    assert "8 values, but the requested shape has 7" in error.message


def test_one_signature_of_several_is_the_default(model: Path, tmp_path: Path) -> None:
    tensorflow = import_tensorflow()
    loaded = tensorflow.saved_model.load(str(model))
    network = tensorflow.Module()
    network.double = tensorflow.function(
        lambda words: {"twice": words + words}, [tensorflow.TensorSpec([None], "string")]
    )
    names = {"none": [], "one": ["a"], "two": ["b", "a"]}
    for folder, signatures in names.items():
        tensorflow.saved_model.save(network, str(tmp_path / folder), dict.fromkeys(signatures, network.double))
    one = TENSORFLOW.load(lock(tmp_path / "one"), CONTENT_KEY)
    assert TENSORFLOW.infer(one, {"words": np.array(["ab", "c"])}, "cpu")["twice"].tolist() == [b"abab", b"cc"]
    none, two = (TENSORFLOW.load(lock(tmp_path / folder), CONTENT_KEY) for folder in ("none", "two"))
    for call in (TENSORFLOW.signature, lambda model: TENSORFLOW.infer(model, {}, "cpu")):
        assert_refused("model_type_mismatch", call, none)
        error = assert_refused("model_type_mismatch", call, two)
        assert error.hints == ("it has 'a', 'b': call signatures[…] of what load() returns",)
    assert saved_model_outputs(loaded)


def test_texts_fit_into_an_npz_file(tmp_path: Path, model: Path) -> None:
    loaded = TENSORFLOW.load(lock(model), CONTENT_KEY)
    loaded.signatures._signatures.pop("serving_default")
    outputs = TENSORFLOW.infer(loaded, {"words": np.array(["beta", "ß"])}, "cpu")
    np.savez(tmp_path / "y.npz", **outputs)
    with np.load(tmp_path / "y.npz", allow_pickle=False) as archive:
        assert [text.decode() for text in archive["upper"]] == ["BETA", "ß"]


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:-1", "", "CPU"])
def test_device_that_does_not_exist(model: Path, device: str) -> None:
    assert_refused("usage", TENSORFLOW.load, lock(model), CONTENT_KEY, device=device)


def test_cuda_without_a_gpu(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    monkeypatch.setattr(import_tensorflow().config, "list_logical_devices", lambda kind: found)
    locked = lock(model)
    loaded = TENSORFLOW.load(locked, CONTENT_KEY, device="cpu")
    assert loaded.signatures["serving_default"].variables[0].device.endswith("/device:CPU:0")
    for device in ("cuda", "cuda:0"):
        error = assert_refused("framework_missing", TENSORFLOW.load, locked, CONTENT_KEY, device=device)
        assert error.message == "TensorFlow finds no CUDA device here"
        assert_refused("framework_missing", TENSORFLOW.infer, loaded, {"x": X}, device)
        assert_refused("framework_missing", TENSORFLOW.run_options, device, None, False)
    found.append("GPU:0")
    error = assert_refused("usage", TENSORFLOW.load, locked, CONTENT_KEY, device="cuda:1")
    assert error.hints == ("TensorFlow finds 1 here",)


def test_options_of_run() -> None:
    assert TENSORFLOW.run_options("cpu", None, False) == {"device": "cpu", "compile": False, "safe_mode": True}
    assert TENSORFLOW.run_options("cpu", None, True)["safe_mode"] is False
    assert_refused("usage", TENSORFLOW.run_options, "cpu", "net.py:net", False)


def test_one_file_is_no_saved_model(model: Path) -> None:
    assert_refused("model_type_mismatch", lock, model / "saved_model.pb")


# TensorFlow beside others, and by itself.

QUIET = """
import sys
from cryptors import CryptorFactory
cryptor = CryptorFactory.instance("tensorflow")
loaded = cryptor.load(sys.argv[1], bytes(range(32)))
print(cryptor.infer(loaded, {"x": [[1.0, 1.0, 1.0, 1.0]]}, "cpu")["y"].tolist())
"""


@pytest.mark.slow
def test_tensorflow_says_nothing_of_itself(model: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", QUIET, lock(model)], capture_output=True, check=True, text=True)
    assert (json.loads(ended.stdout), ended.stderr) == ([[18.0, 22.0, 26.0]], "")


def test_callers_own_wish_about_remarks_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    import_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
