"""External data of ONNX models: wherever it lies inside the model, and from nowhere else."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from licensing.errors import WeightlockError
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.cryptors.onnx_setting import (
    MATMUL,
    ONNX,
    OUTPUT,
    V,
    W,
    X,
    assert_refused,
    assert_same_outputs,
    lock,
    write_external,
)
from tests.onnx_models import ExternalWriter, inside, write_graph

# Where external data may lie.


@pytest.mark.parametrize(
    "location", ["weights.bin", "./weights.bin", "data/weights.bin", "a/b/c", "m.onnx.data", "größe"]
)
def test_location(onnx_folder: Path, location: str) -> None:
    model = write_external(onnx_folder, location)
    assert_same_outputs(model, lock(model))


def test_one_file_per_tensor(onnx_folder: Path) -> None:
    tensors = [ExternalWriter(onnx_folder, f"tensors/{name}")(name, array) for name, array in (("w", W), ("v", V))]
    model = write_graph(onnx_folder / "m.onnx", MATMUL, tensors, {"x": X}, OUTPUT)
    assert ONNX.encrypt(model, CONTENT_KEY, onnx_folder.parent / "model.locked").files == 3
    assert_same_outputs(model, onnx_folder.parent / "model.locked")


@pytest.mark.parametrize("name", ["m.onnx", "onnx/m.onnx", "a/b/m.onnx"])
@pytest.mark.parametrize("location", ["weights.bin", "data/weights.bin"])
def test_directory(onnx_folder: Path, name: str, location: str) -> None:
    """Also with the model in a onnx_folder of its own, as model hubs have it; locations are relative to the model."""
    model = write_external(onnx_folder, location, name)
    (onnx_folder / "tokenizer.json").write_text("{}")
    ONNX.encrypt(onnx_folder, CONTENT_KEY, onnx_folder.parent / "model.locked")
    assert_same_outputs(model, onnx_folder.parent / "model.locked")


def test_only_what_belongs_to_the_model_is_locked(onnx_folder: Path) -> None:
    """Beside a model that is named by its file there can be anything."""
    (onnx_folder / "training set.bin").write_bytes(bytes(1000))
    header = ONNX.encrypt(write_external(onnx_folder), CONTENT_KEY, onnx_folder.parent / "model.locked")
    assert header.files == 2


def test_tensor_without_offset_and_length_is_the_whole_file(onnx_folder: Path) -> None:
    (onnx_folder / "w.bin").write_bytes(W.tobytes())
    tensor = ExternalWriter(onnx_folder, "unused.bin").tensor("w", TensorProto.FLOAT, W.shape, location="w.bin")
    model = write_graph(onnx_folder / "m.onnx", MATMUL, [tensor, inside("v", V)], {"x": X}, OUTPUT)
    assert_same_outputs(model, lock(model))


def test_tensors_without_elements(onnx_folder: Path) -> None:
    """The file of external data can be empty then, which makes some versions of ONNX Runtime abort on the plaintext."""
    empty: Any = np.empty((0, 64), np.float32)
    tensors = [ExternalWriter(onnx_folder, "none.bin")("w", empty)]
    nodes = [helper.make_node("Concat", ["x", "w"], ["y"], axis=0)]
    model = write_graph(onnx_folder / "m.onnx", nodes, tensors, {"x": X}, OUTPUT)
    assert (onnx_folder / "none.bin").stat().st_size == 0
    locked = lock(model)
    for session in (ONNX.load(locked, CONTENT_KEY), onnxruntime.InferenceSession(ONNX.decrypt(locked, CONTENT_KEY))):
        assert session.run(None, {"x": X})[0].tobytes() == X.tobytes()


@pytest.mark.parametrize("as_constants", [False, True], ids=["initializers", "constants"])
def test_tensors_of_subgraphs(onnx_folder: Path, as_constants: bool) -> None:
    """ONNX Runtime looks for these among the files of the working directory, whatever it was given in memory."""
    tensor = ExternalWriter(onnx_folder)
    branches = []
    for name, array in (("w", W), ("v", V)):
        nodes, initializers = [helper.make_node("MatMul", ["x", name], [f"{name} y"])], [tensor(name, array)]
        if as_constants:
            nodes.insert(0, helper.make_node("Constant", [], [name], value=initializers.pop()))
        output = helper.make_tensor_value_info(f"{name} y", *OUTPUT)
        branches.append(helper.make_graph(nodes, name, [], [output], initializers))
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])]
    model = write_graph(onnx_folder / "m.onnx", nodes, [], {"c": np.array(True), "x": X}, OUTPUT)
    locked = lock(model)
    for condition in (True, False):
        assert_same_outputs(model, locked, {"c": np.array(condition), "x": X})


def test_constants_of_the_graph(onnx_folder: Path) -> None:
    nodes = [helper.make_node("Constant", [], ["w"], value=ExternalWriter(onnx_folder)("w", W)), *MATMUL]
    model = write_graph(onnx_folder / "m.onnx", nodes, [inside("v", V)], {"x": X}, OUTPUT)
    assert_same_outputs(model, lock(model))


def test_working_directory_is_not_looked_at(onnx_folder: Path) -> None:
    model = write_external(onnx_folder)
    locked = lock(model)
    Path("weights.bin").write_bytes(bytes((onnx_folder / "weights.bin").stat().st_size))
    assert_same_outputs(model, locked)


# Where it may not lie.


@pytest.mark.parametrize(
    "location",
    [
        "../weights.bin",
        "a/../../weights.bin",
        "..",
        "./../weights.bin",
        "",
        ".",
        "a//weights.bin",
        "a\\b",
        "a\nb",
        "a\0b",
    ],
)
def test_location_that_leads_elsewhere(onnx_folder: Path, location: str) -> None:
    """A vendor's own file must not make its way into a locked model because a downloaded model names it."""
    (onnx_folder.parent / "weights.bin").write_bytes(W.tobytes())
    tensor = ExternalWriter(onnx_folder, "unused.bin").tensor("w", TensorProto.FLOAT, W.shape, location=location)
    write_graph(onnx_folder / "m.onnx", MATMUL, [tensor, inside("v", V)], {"x": X}, OUTPUT)
    for model in (onnx_folder / "m.onnx", onnx_folder):
        with pytest.raises(WeightlockError) as caught:
            ONNX.encrypt(model, CONTENT_KEY, onnx_folder.parent / "model.locked")
        assert caught.value.reason in ("model_source_invalid", "file_not_found", "not_a_file", "file_unreadable")
        assert ".." not in location or "outside the model's directory" in caught.value.message
    assert not (onnx_folder.parent / "model.locked").exists()


def test_absolute_location(onnx_folder: Path) -> None:
    (onnx_folder.parent / "weights.bin").write_bytes(W.tobytes())
    tensor = ExternalWriter(onnx_folder, "unused.bin").tensor(
        "w", TensorProto.FLOAT, W.shape, location=str(onnx_folder.parent / "weights.bin")
    )
    model = write_graph(onnx_folder / "m.onnx", MATMUL, [tensor, inside("v", V)], {"x": X}, OUTPUT)
    error = assert_refused(
        "model_source_invalid", ONNX.encrypt, model, CONTENT_KEY, onnx_folder.parent / "model.locked"
    )
    assert "outside the model's directory" in error.message


def test_tensor_that_names_no_location(onnx_folder: Path) -> None:
    tensor = TensorProto(name="w", data_type=1, dims=W.shape, data_location=TensorProto.EXTERNAL)
    model = write_graph(onnx_folder / "m.onnx", MATMUL, [tensor, inside("v", V)], {"x": X}, OUTPUT)
    assert_refused("model_source_invalid", ONNX.encrypt, model, CONTENT_KEY, onnx_folder.parent / "model.locked")


def test_external_data_that_is_missing(onnx_folder: Path) -> None:
    model = write_external(onnx_folder, "data/weights.bin")
    (onnx_folder / "data" / "weights.bin").unlink()
    locked = onnx_folder.parent / "model.locked"
    error = assert_refused("file_not_found", ONNX.encrypt, model, CONTENT_KEY, locked)
    assert "weights.bin" in error.message
    error = assert_refused("model_source_invalid", ONNX.encrypt, onnx_folder, CONTENT_KEY, locked)
    assert "'data/weights.bin' is missing" in error.message
    assert not locked.exists()


@pytest.mark.parametrize("names", [["a.onnx", "b.onnx"], ["a.onnx", "onnx/b.onnx"]], ids=" ".join)
def test_directory_of_several_models(onnx_folder: Path, names: list[str]) -> None:
    for name in names:
        write_external(onnx_folder, name=name)
    with pytest.raises(WeightlockError) as caught:
        ONNX.encrypt(onnx_folder, CONTENT_KEY, onnx_folder.parent / "model.locked")
    assert caught.value.reason in ("model_source_invalid", "model_type_mismatch")


@pytest.mark.parametrize(
    "members",
    [
        {"location": "elsewhere.bin"},
        {"location": "../m.onnx"},
        {"offset": "16384", "length": "16384"},
        {"offset": "-4", "length": "16384"},
        {"length": "-1"},
        {"offset": "many"},
        {"offset": "1", "length": str(2**70)},
    ],
    ids=str,
)
def test_container_whose_tensors_name_what_is_not_there(onnx_folder: Path, members: dict[str, str]) -> None:
    """Only another writer makes such a container. ONNX Runtime would look in the working directory."""
    Path("elsewhere.bin").write_bytes(W.tobytes())
    tensor = ExternalWriter(onnx_folder).tensor("w", TensorProto.FLOAT, W.shape, **members)
    model = write_graph(onnx_folder / "m.onnx", MATMUL, [tensor, inside("v", V)], {"x": X}, OUTPUT)
    files = {"m.onnx": model.read_bytes(), "weights.bin": W.tobytes()}
    locked = write_container(onnx_folder.parent / "model.locked", files, entry="m.onnx", model_type="onnx")
    for call in (ONNX.load, ONNX.decrypt):
        error = assert_refused("model_malformed", call, locked, CONTENT_KEY)
        assert "'w' names external data that is not there" in error.message


def test_tensor_that_no_node_uses(onnx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime drops such a tensor from the graph, and then finds none that its values could be for."""
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_VALUES_BYTES", 16)
    tensor = ExternalWriter(onnx_folder)
    tensors = [tensor("w", W), tensor("v", V), tensor("unused", W)]
    model = write_graph(onnx_folder / "m.onnx", MATMUL, tensors, {"x": X}, OUTPUT)
    assert_same_outputs(model, lock(model))


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_tensors_at_odd_places(onnx_folder: Path, monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
    """Two tensors share their bytes, and a third begins where they end."""
    monkeypatch.setattr("cryptors.onnx_cryptor.LARGE_VALUES_BYTES", 16)
    (onnx_folder / "weights.bin").write_bytes(bytes(offset) + W.tobytes() + V.tobytes())
    place = ExternalWriter(onnx_folder, "unused.bin")
    tensors = [
        place.tensor(name, TensorProto.FLOAT, W.shape, location="weights.bin", offset=str(begin), length=str(W.nbytes))
        for name, begin in (("w", offset), ("v", offset), ("u", offset + W.nbytes))
    ]
    nodes = [*MATMUL[:-1], helper.make_node("MatMul", ["h", "v"], ["g"]), helper.make_node("MatMul", ["g", "u"], ["y"])]
    model = write_graph(onnx_folder / "m.onnx", nodes, tensors, {"x": X}, OUTPUT)
    session = ONNX.load(lock(model), CONTENT_KEY)
    expected = onnxruntime.InferenceSession(ONNX.decrypt(onnx_folder.parent / "model.locked", CONTENT_KEY))
    assert session.run(None, {"x": X})[0].tobytes() == expected.run(None, {"x": X})[0].tobytes()
