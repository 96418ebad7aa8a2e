"""Files that the old toolkit wrote still open: one Fernet token that holds the whole model."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.numpy
import torch
from cryptography.fernet import Fernet
from onnx import helper

from cryptors import CryptorFactory, ModelType, load_model, read_header
from licensing.errors import WeightlockError
from tests.contract.networks import TINY, Network
from tests.licensed_box import LicensedBox
from tests.onnx_models import inside, write_graph

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:'torch.load' received a zip file that looks like a TorchScript archive"),
]

X: Any = np.ones((2, TINY), np.float32)


def torch_bytes(save: Callable[[Any], None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def onnx_bytes(folder: Path) -> bytes:
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    return write_graph(folder / "m.onnx", nodes, [inside("w", X)], {"x": X}, (1, list(X.shape))).read_bytes()


def outputs_of(loaded: Any) -> Any:
    if isinstance(loaded, bytes):
        loaded = onnxruntime.InferenceSession(loaded)
    if isinstance(loaded, onnxruntime.InferenceSession):
        return loaded.run(None, {"x": X})[0]
    if isinstance(loaded, dict):
        return np.concatenate([np.asarray(tensor).ravel() for _, tensor in sorted(loaded.items())])
    with torch.inference_mode():
        return loaded(torch.from_numpy(X)).numpy()


@dataclass(frozen=True)
class Old:
    """A model as the old toolkit left it."""

    model_type: ModelType
    expected: Any
    options: dict[str, Any]
    path: Path
    key: bytes


NETWORK = Network(TINY).eval()


def plaintext_of(kind: str, folder: Path) -> tuple[ModelType, bytes, Any, dict[str, Any]]:
    """Returns a model's type, its file, the model itself, and what loading it takes."""
    state = NETWORK.state_dict()
    if kind == "state dict":
        return ModelType.MODEL_TORCH, torch_bytes(lambda file: torch.save(state, file)), state, {}
    if kind == "module":
        plaintext = torch_bytes(lambda file: torch.save(NETWORK, file))
        return ModelType.MODEL_TORCH, plaintext, NETWORK, {"weights_only": False}
    if kind == "torchscript":
        plaintext = torch_bytes(lambda file: torch.jit.save(torch.jit.script(NETWORK), file))
        return ModelType.MODEL_TORCHSCRIPT, plaintext, NETWORK, {}
    if kind == "onnx":
        return ModelType.MODEL_ONNX, onnx_bytes(folder), onnx_bytes(folder), {}
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    return ModelType.MODEL_SAFETENSORS, safetensors.numpy.save(arrays), state, {}


@pytest.fixture(params=["state dict", "module", "torchscript", "onnx", "safetensors"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    """What it did: `Fernet(key).encrypt` of the bytes that the framework had saved."""
    model_type, plaintext, loaded, options = plaintext_of(request.param, tmp_path)
    key = Fernet.generate_key()
    (tmp_path / "model.crt").write_bytes(Fernet(key).encrypt(plaintext))
    return Old(model_type, outputs_of(loaded), options, tmp_path / "model.crt", key)


def test_opens(old: Old) -> None:
    cryptor = CryptorFactory.instance(old.model_type)
    for open_it in (cryptor.decrypt, cryptor.load):
        assert np.array_equal(outputs_of(open_it(old.path, old.key, **old.options)), old.expected)
        assert np.array_equal(
            outputs_of(open_it(str(old.path), crypt_key=old.key.decode(), **old.options)), old.expected
        )


def test_onnx_comes_back_as_its_bytes(tmp_path: Path) -> None:
    plaintext, key = onnx_bytes(tmp_path), Fernet.generate_key()
    (tmp_path / "model.crt").write_bytes(Fernet(key).encrypt(plaintext))
    assert CryptorFactory.instance("onnx").decrypt(tmp_path / "model.crt", key) == plaintext


def assert_refused(reason: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> WeightlockError:
    with pytest.raises(WeightlockError) as caught:
        call(*arguments, **options)
    assert caught.value.reason == reason
    return caught.value


def test_wrong_key(old: Old) -> None:
    cryptor = CryptorFactory.instance(old.model_type)
    assert_refused("model_damaged", cryptor.decrypt, old.path, Fernet.generate_key())


@pytest.mark.parametrize("change", ["first", "middle", "last", "cut", "longer", "not base64"])
def test_changed_file(old: Old, change: str) -> None:
    data = bytearray(old.path.read_bytes())
    places = {"first": 8, "middle": len(data) // 2, "last": len(data) - 20}
    if change in places:
        data[places[change]] = ord("A") if data[places[change]] != ord("A") else ord("B")
    else:
        data = {"cut": data[:-4], "longer": data + b"AAAA", "not base64": data[:100] + b"\xff\0" + data[100:]}[change]
    old.path.write_bytes(data)
    cryptor = CryptorFactory.instance(old.model_type)
    assert_refused("model_damaged", cryptor.load, old.path, old.key, **old.options)


def test_license_says_what_to_do_instead(old: Old, licensed_box: LicensedBox, tmp_path: Path) -> None:
    cryptor = CryptorFactory.instance(old.model_type)
    error = assert_refused("usage", cryptor.decrypt, old.path, **licensed_box.unlocking(tmp_path / "acme.lic"))
    assert error.message == "files of the old toolkit have no license: encrypt the model again"


def test_type_must_be_said(old: Old) -> None:
    error = assert_refused("model_type_unknown", load_model, old.path, crypt_key=old.key)
    assert "CryptorFactory" in error.hints[0]


def test_wrong_type(old: Old) -> None:
    for other in (
        ModelType.MODEL_TORCH,
        ModelType.MODEL_TORCHSCRIPT,
        ModelType.MODEL_ONNX,
        ModelType.MODEL_SAFETENSORS,
    ):
        if other is not old.model_type:
            with pytest.raises(WeightlockError) as caught:
                CryptorFactory.instance(other).load(old.path, old.key)
            assert caught.value.reason in ("model_rejected", "unsafe_pickle")


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Every model is looked at for the old toolkit's beginning first."""
    os.mkfifo(tmp_path / "pipe")
    assert_refused("not_a_file", load_model, tmp_path / "pipe", crypt_key=bytes(32))
    assert_refused("not_a_file", CryptorFactory.instance("onnx").load, tmp_path / "pipe", bytes(32))


def test_it_is_no_locked_model(old: Old) -> None:
    error = assert_refused("model_malformed", read_header, old.path)
    assert "old toolkit" in error.message


def test_it_is_not_encrypted_again_by_mistake(old: Old, tmp_path: Path) -> None:
    cryptor = CryptorFactory.instance(old.model_type)
    assert_refused("model_type_mismatch", cryptor.encrypt, old.path, old.key, tmp_path / "model.locked")


def test_unknown_option(old: Old) -> None:
    assert_refused("usage", CryptorFactory.instance(old.model_type).load, old.path, old.key, colour="green")


def test_key_reaches_no_error_message(old: Old) -> None:
    """Neither in the sentence nor in what a traceback of the whole chain shows."""
    code = "import sys; from cryptors import *; CryptorFactory.instance('onnx').load(sys.argv[1], sys.argv[2])"
    other = Fernet.generate_key().decode()
    ended = subprocess.run(
        [sys.executable, "-c", code, str(old.path), other], capture_output=True, check=False, text=True
    )
    assert "ModelDamagedError" in ended.stderr
    assert other not in ended.stderr
