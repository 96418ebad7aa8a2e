"""PyTorch and TorchScript: no pickle runs code unless the caller allows it, and modules run on named arrays."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cryptography.fernet import Fernet

from cryptors import Cryptor, CryptorFactory
from licensing.content_key import content_key_base64
from tests.command_line import here
from tests.contract import networks
from tests.cryptors.containers import CONTENT_KEY
from tests.licensed_box import LicensedBox
from tests.refusals import assert_refused

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:'torch.load' received a zip file that looks like a TorchScript archive"),
]

TORCH = CryptorFactory.instance("torch")
SCRIPT = CryptorFactory.instance("torchscript")
ARCHITECTURE = f"{networks.__file__}:tiny_network"


def lock(folder: Path, model: Any, **options: Any) -> Path:
    torch.save(model, folder / "model.pth", **options)
    TORCH.encrypt(folder / "model.pth", CONTENT_KEY, folder / "model.locked")
    return folder / "model.locked"


# Pickles.


class Evil:
    """A pickle that makes a directory when it is loaded, as it could do anything else."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("old", [False, True], ids=["locked", "of the old toolkit"])
def test_pickle_that_runs_code(tmp_path: Path, zipped: bool, old: bool) -> None:
    mark = tmp_path / "it ran"
    locked = lock(tmp_path, {"weight": torch.ones(2), "evil": Evil(mark)}, _use_new_zipfile_serialization=zipped)
    if old:
        token = Fernet(content_key_base64(CONTENT_KEY)).encrypt((tmp_path / "model.pth").read_bytes())
        locked.write_bytes(token)
    for call in (TORCH.decrypt, TORCH.load):
        error = assert_refused("unsafe_pickle", call, locked, CONTENT_KEY)
        assert any("weights_only=False" in hint for hint in error.hints)
        assert_refused("unsafe_pickle", call, locked, CONTENT_KEY, weights_only=True)
        assert_refused("unsafe_pickle", call, locked, CONTENT_KEY, architecture=ARCHITECTURE)
        assert not mark.exists()
    TORCH.load(locked, CONTENT_KEY, weights_only=False)
    assert mark.is_dir(), "this is what the caller was asked about, so the refusals above refused something real"


def test_run_loads_no_pickle_unless_it_is_told_to(
    tmp_path: Path, licensed_box: LicensedBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("licensing.unlock.read_hardware", lambda: licensed_box.hardware)
    mark = tmp_path / "it ran"
    torch.save(Evil(mark), tmp_path / "model.pth")
    header = TORCH.encrypt(tmp_path / "model.pth", CONTENT_KEY, tmp_path / "model.locked")
    license = licensed_box.license(tmp_path / "acme.lic", [(header, CONTENT_KEY)])
    np.savez(tmp_path / "x.npz", x=np.ones((1, 1), np.float32))
    files = ("--input", str(tmp_path / "x.npz"), "--output", str(tmp_path / "y.npz"))
    arguments = ("run", str(tmp_path / "model.locked"), *licensed_box.arguments(license), *files, "--json")
    here(*arguments).refused(4, "unsafe_pickle")
    here(*arguments, "--architecture", ARCHITECTURE).refused(4, "unsafe_pickle")
    assert not mark.exists()
    here(*arguments, "--allow-pickle").refused(4, "model_type_mismatch")
    assert mark.is_dir()


def test_plain_pickle_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(pickle.dumps(Evil(tmp_path / "it ran")))
    locked = tmp_path / "model.locked"
    assert_refused("model_type_mismatch", TORCH.encrypt, tmp_path / "model.pth", CONTENT_KEY, locked)
    assert not (tmp_path / "it ran").exists()


def test_file_in_the_format_before_zip(tmp_path: Path) -> None:
    state = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1, 2], dtype=torch.int8)}
    loaded = TORCH.load(lock(tmp_path, state, _use_new_zipfile_serialization=False), CONTENT_KEY)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_what_weights_only_allows_beside_tensors(tmp_path: Path) -> None:
    """A training checkpoint."""
    checkpoint = {"epoch": 7, "model": networks.tiny_network().state_dict(), "loss": [0.5, None], "name": "é"}
    loaded = TORCH.load(lock(tmp_path, checkpoint), CONTENT_KEY)
    assert loaded["loss"] == [0.5, None]
    assert (loaded["epoch"], loaded["name"]) == (7, "é")
    assert torch.equal(loaded["model"]["first.weight"], checkpoint["model"]["first.weight"])


def test_types_of_tensors(tmp_path: Path) -> None:
    kinds = [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.uint8, torch.bool]
    state = {str(kind): torch.tensor([0.0, 1.0, 1.0]).to(kind) for kind in kinds}
    shared = torch.arange(10.0)
    state |= {"first half": shared[:5], "second half": shared[5:], "empty": torch.empty(0, 3)}
    loaded = TORCH.load(lock(tmp_path, state), CONTENT_KEY)
    for name, tensor in state.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name].view(torch.uint8), tensor.view(torch.uint8))


def test_place_of_the_tensors(tmp_path: Path) -> None:
    locked = lock(tmp_path, {"weight": torch.ones(2)})
    assert TORCH.load(locked, CONTENT_KEY, map_location="meta")["weight"].device.type == "meta"
    assert TORCH.load(locked, CONTENT_KEY, map_location={"cpu": "cpu"})["weight"].device.type == "cpu"


# Architectures.


def test_architecture_makes_a_module_of_weights(tmp_path: Path) -> None:
    state = networks.tiny_network().state_dict()
    module = TORCH.load(lock(tmp_path, state), CONTENT_KEY, architecture=ARCHITECTURE)
    assert not module.training
    assert torch.equal(module.first.weight, state["first.weight"])
    named = TORCH.load(tmp_path / "model.locked", CONTENT_KEY, architecture="tests.contract.networks:tiny_network")
    assert torch.equal(named.first.weight, state["first.weight"])


@pytest.mark.parametrize(
    "architecture",
    ["", ":", "networks.py", "missing.py:Net", f"{networks.__file__}:missing", "no.such.package:Net", ".:Net", "os:no"],
)
def test_architecture_that_is_not_there(tmp_path: Path, architecture: str) -> None:
    locked = lock(tmp_path, {"weight": torch.ones(2)})
    assert_refused("usage", TORCH.load, locked, CONTENT_KEY, architecture=architecture)


@pytest.mark.parametrize(
    "code", ["def net(:", "import no_such_package", "1 / 0", "def net(): 1 / 0", "def net(size): ...", "net = 7"]
)
def test_architecture_that_fails(tmp_path: Path, code: str) -> None:
    """The error is that of the caller's code, and not of the model."""
    (tmp_path / "network.py").write_text(f"{code}\n")
    locked = lock(tmp_path, {"weight": torch.ones(2)})
    error = assert_refused("usage", TORCH.load, locked, CONTENT_KEY, architecture=f"{tmp_path}/network.py:net")
    assert "cannot be built" in error.message


def test_architecture_of_another_model(tmp_path: Path) -> None:
    locked = lock(tmp_path, {"weight": torch.ones(2)})
    error = assert_refused("model_rejected", TORCH.load, locked, CONTENT_KEY, architecture=ARCHITECTURE)
    assert "Network" in error.message


# Running.


class Many(torch.nn.Module):  # type: ignore[misc]
    """Takes two inputs, and returns whatever kind of answer it was made for."""

    def __init__(self, answer: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Any, y: Any) -> Any:
        return self.answer(x, y)


X: Any = np.array([1.0, 2.0], np.float32)
Y: Any = np.array([10.0, 20.0], np.float32)


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (lambda x, y: x - y, ["output"]),
        (lambda x, y: (x - y, x), ["output_0", "output_1"]),
        (lambda x, y: [x - y], ["output_0"]),
        (lambda x, y: {"logits": x - y, "x": x}, ["logits", "x"]),
    ],
)
@pytest.mark.parametrize("inputs", [{"x": X, "y": Y}, {"y": Y, "x": X}, {"arr_0": X, "arr_1": Y}, {"arr_0": X, "y": Y}])
def test_names_of_inputs_and_outputs(answer: Any, names: list[str], inputs: dict[str, Any]) -> None:
    outputs = TORCH.infer(Many(answer), inputs, "cpu")
    assert list(outputs) == names
    assert np.array_equal(outputs[names[0]], X - Y)


def test_names_of_inputs_of_a_script() -> None:
    script = torch.jit.script(networks.tiny_network())
    assert list(SCRIPT.infer(script, {"x": np.ones((1, 1), np.float32)}, "cpu")) == ["output"]
    error = assert_refused("usage", SCRIPT.infer, script, {"z": X}, "cpu")
    assert (error.message, error.hints) == ("the model has no input 'z'", ("it has 'x'",))


def test_gradients_are_left_out() -> None:
    assert TORCH.infer(networks.tiny_network(), {"x": np.ones((1, 1), np.float32)}, "cpu")["output"].shape == (1, 3)


def test_input_that_the_model_does_not_have() -> None:
    error = assert_refused("usage", TORCH.infer, networks.tiny_network(), {"images": X}, "cpu")
    assert (error.message, error.hints) == ("the model has no input 'images'", ("it has 'x'",))


@pytest.mark.parametrize("cryptor", [TORCH, SCRIPT], ids=["torch", "torchscript"])
@pytest.mark.parametrize(
    "inputs",
    [{}, {"x": np.ones((2, 7), np.float32)}, {"x": np.array(["text"])}, {"x": np.array([None])}],
    ids=["none", "of another shape", "text", "object"],
)
def test_inputs_that_do_not_fit(cryptor: Cryptor, inputs: dict[str, Any]) -> None:
    """A sentence about the model, and not "internal error"."""
    network = networks.tiny_network()
    module = network if cryptor is TORCH else torch.jit.script(network)
    error = assert_refused("model_rejected", cryptor.infer, module, inputs, "cpu")
    assert error.message.startswith("PyTorch could not run the model: ")
    assert "\n" not in error.message


def test_output_that_is_no_array() -> None:
    assert_refused("model_rejected", TORCH.infer, Many(lambda x, y: "text"), {"x": X, "y": Y}, "cpu")


def test_weights_cannot_run_by_themselves(tmp_path: Path) -> None:
    loaded = TORCH.load(lock(tmp_path, {"weight": torch.ones(2)}), CONTENT_KEY)
    error = assert_refused("model_type_mismatch", TORCH.infer, loaded, {"x": X}, "cpu")
    assert "--architecture" in error.hints[0]
