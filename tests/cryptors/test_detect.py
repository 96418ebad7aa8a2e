"""A model's type is told from its content, without its framework; whatever the content is, nothing breaks."""

import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from cryptors.detect import check_type, detect_type
from cryptors.errors import CryptorError, ModelSourceError, ModelTypeError
from cryptors.model_type import ModelType, model_type_of
from licensing.errors import FileAccessError
from tests.onnx_models import inside, write_graph

ARRAY: Any = np.ones((2, 2), np.float32)


def write_onnx(path: Path) -> Path:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return write_graph(path, nodes, [inside("w", ARRAY)], {"x": ARRAY}, (1, [2, 2]))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    state = {"w": torch.ones(2, 2)}
    torch.save(state, folder / "state")
    torch.save(torch.nn.Linear(2, 2), folder / "module")
    torch.save(state, folder / "legacy", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "script")
    safetensors.numpy.save_file({"w": ARRAY}, folder / "tensors")
    safetensors.numpy.save_file({}, folder / "no tensors")
    write_onnx(folder / "graph")
    for name in ("sharded", "exported"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    safetensors.numpy.save_file({"w": ARRAY}, folder / "sharded" / "model-00001-of-00001.safetensors")
    write_onnx(folder / "exported" / "model.onnx")
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        ("state", ModelType.MODEL_TORCH),
        ("module", ModelType.MODEL_TORCH),
        ("legacy", ModelType.MODEL_TORCH),
        ("script", ModelType.MODEL_TORCHSCRIPT),
        ("tensors", ModelType.MODEL_SAFETENSORS),
        ("no tensors", ModelType.MODEL_SAFETENSORS),
        ("graph", ModelType.MODEL_ONNX),
        ("sharded", ModelType.MODEL_SAFETENSORS),
        ("exported", ModelType.MODEL_ONNX),
    ],
)
def test_type(models: dict[str, Path], name: str, model_type: ModelType) -> None:
    """The name says nothing here, and the content does."""
    assert detect_type(models[name]) is model_type
    check_type(str(models[name]), model_type)
    for other in set(ModelType) - {model_type}:
        with pytest.raises(ModelTypeError) as caught:
            check_type(models[name], other)
        assert caught.value.reason == "model_type_mismatch"
        assert model_type.value in caught.value.message


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"1")
    return buffer.getvalue()


OTHERS = {
    "text": b"hello world\n",
    "one zero byte": b"\0",
    "zero bytes": bytes(10_000),
    "plain pickle": pickle.dumps({"w": 1}),
    "zip of something else": zipped("a.txt", "b/c.txt"),
    "zip with the pickle at its top": zipped("data.pkl"),
    "cut zip": zipped("net/data.pkl")[:-10],
    "beginning of a zip": b"PK\x03\x04",
    "safetensors without a header": (100).to_bytes(8, "little") + b"{",
    "safetensors with a huge header": (2**63).to_bytes(8, "little") + b"{}",
    "safetensors with a broken header": (4).to_bytes(8, "little") + b"{{{{",
    "safetensors with a deep header": (10_000).to_bytes(8, "little") + b'{"a":' * 2000,
    "protobuf of something else": onnx.TensorProto(dims=[1], data_type=1, name="x").SerializeToString(),
    "protobuf with a field 27": b"\x08\x08\x3a\x00\xda\x01\x00",
    "protobuf without a graph": onnx.ModelProto(ir_version=8).SerializeToString(),
    "protobuf that is cut": b"\x08\x08\x3a\x05ab",
    "varint without an end": b"\xff" * 20,
    "Fernet": b"gAAAAABl",
    "locked model": b"WLOCKED\n\0\0\0\x02{}",
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_something_else(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model").write_bytes(data)
    assert detect_type(tmp_path / "model") is None
    with pytest.raises(ModelTypeError, match="something else"):
        check_type(tmp_path / "model", ModelType.MODEL_ONNX)


@given(st.sampled_from(["state", "legacy", "tensors", "graph"]), st.data())
@settings(deadline=None)
def test_damaged_models_have_a_type_or_none(models: dict[str, Path], name: str, data: st.DataObject) -> None:
    """Whoever writes to a model at random gets an answer, and no error that is not ours."""
    content = bytearray(models[name].read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=5)):
        content[place] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(1, len(content))) :]
    path = models[name].parent / "damaged"
    path.write_bytes(content)
    assert detect_type(path) in (None, *ModelType)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"")
    with pytest.raises(ModelSourceError, match="is empty"):
        detect_type(tmp_path / "model")


@pytest.mark.parametrize("names", [[], ["config.json"], ["a.onnx", "b.onnx"], ["pytorch_model.bin"]], ids=" ".join)
def test_directory_of_something_else(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"1")
    assert detect_type(tmp_path) is None


def test_what_is_no_file(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to would hang."""
    os.mkfifo(tmp_path / "pipe")
    reasons = {
        tmp_path / "missing": "file_not_found",
        tmp_path / "pipe": "not_a_file",
        Path("/dev/zero"): "not_a_file",
        tmp_path / "zero\0byte": "file_unreadable",
    }
    for path, reason in reasons.items():
        with pytest.raises(FileAccessError) as caught:
            detect_type(path)
        assert caught.value.reason == reason, path


def test_no_framework_is_imported(models: dict[str, Path]) -> None:
    code = (
        "import sys; from cryptors.detect import detect_type; print(*[detect_type(path) for path in sys.argv[1:]]);"
        "assert not {'torch', 'onnx', 'onnxruntime', 'safetensors', 'numpy'} & set(sys.modules)"
    )
    paths = [str(models[name]) for name in ("state", "script", "tensors", "graph", "sharded")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, stdout=subprocess.DEVNULL)


# Names of types.


@pytest.mark.parametrize("name", ["onnx", "ONNX", "MODEL_ONNX", "model_onnx", ModelType.MODEL_ONNX])
def test_name_of_a_type(name: str | ModelType) -> None:
    assert model_type_of(name) is ModelType.MODEL_ONNX


@pytest.mark.parametrize("name", ["", "onnxx", "model_", "MODEL_MODEL_ONNX", "x" * 10_000])
def test_name_of_no_type(name: str) -> None:
    with pytest.raises(CryptorError) as caught:
        model_type_of(name)
    assert caught.value.reason == "model_type_unknown"
    assert len(caught.value.message) < 100
