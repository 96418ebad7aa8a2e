"""Paddle's state dicts: what `paddle.save` writes comes back, and pickles that could run code do not run."""

import collections
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.fernet import Fernet

from cryptors import detect
from cryptors.errors import UnsafePickleError
from cryptors.model_type import ModelType
from cryptors.paddle_inference import import_paddle
from cryptors.paddle_pickle import check_weights_only
from licensing.content_key import content_key_base64
from tests.cryptors.containers import CONTENT_KEY
from tests.cryptors.paddle_setting import PADDLE, WEIGHTS, X, assert_refused, lock
from tests.paddle_models import new_layer

pytestmark = pytest.mark.usefixtures("memory_only")

ran: list[str] = []
"""What hostile pickles of these tests have run."""

MULTIARRAY = np.zeros(0).__reduce__()[0]
"""NumPy's own `_reconstruct`, whose module has another name in each of its major versions."""


@pytest.fixture
def model(paddle_written: Path, tmp_path: Path) -> Path:
    """A state dict that the test may change."""
    copy = tmp_path / "m.pdparams"
    copy.write_bytes((paddle_written / "pdparams" / "m.pdparams").read_bytes())
    return copy


class Calling:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


# What comes back.


def test_state_dict(model: Path) -> None:
    assert detect.detect_type(model) is ModelType.MODEL_PADDLE
    locked, expected = lock(model), import_paddle().load(str(model))
    for found in (PADDLE.load(locked, CONTENT_KEY), PADDLE.decrypt(locked, CONTENT_KEY)):
        assert list(found) == list(expected)
        for name, tensor in expected.items():
            assert type(found[name]) is type(tensor)
            assert found[name].name == tensor.name
            assert found[name].numpy().tobytes() == tensor.numpy().tobytes()
    arrays = PADDLE.load(locked, CONTENT_KEY, return_numpy=True)
    assert np.array_equal(arrays["first.weight"], WEIGHTS["first.weight"].T)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_everything_that_paddle_saves(tmp_path: Path, protocol: int) -> None:
    """Optimizers keep more than tensors, and users save several state dicts in one file."""
    paddle = import_paddle()
    layer = new_layer(4, WEIGHTS)
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(np.float64(0.1), 10)
    adam = paddle.optimizer.Adam(schedule, parameters=layer.parameters())
    layer(paddle.to_tensor(X)).sum().backward()
    adam.step()
    types = {name: paddle.ones([2]).astype(name) for name in ("float16", "bfloat16", "int64", "bool", "complex64")}
    saved = {"layer": layer.state_dict(), "adam": adam.state_dict(), "types": types, "epoch": 3, "empty": np.zeros(0)}
    paddle.save(saved, str(tmp_path / "all.pdparams"), protocol)
    paddle.save(adam.state_dict(), str(tmp_path / "adam.pdopt"), protocol)
    for name in ("all.pdparams", "adam.pdopt"):
        found = PADDLE.load(lock(tmp_path / name), CONTENT_KEY)
        expected = paddle.load(str(tmp_path / name))
        assert flat(found) == flat(expected)


def flat(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: flat(each) for name, each in value.items()}
    return value.numpy().tobytes() if hasattr(value, "numpy") else np.asarray(value).tolist()


def test_state_dict_of_a_static_program(tmp_path: Path) -> None:
    """Nothing but its name tells that such a pickle is Paddle's."""
    data = pickle.dumps({"linear_0.w_0": np.ones((2, 2), np.float32)}, 2)
    (tmp_path / "m.pdparams").write_bytes(data)
    (tmp_path / "m.bin").write_bytes(data)
    assert_refused("model_type_mismatch", lock, tmp_path / "m.bin")
    assert PADDLE.load(lock(tmp_path / "m.pdparams"), CONTENT_KEY)["linear_0.w_0"].numpy().sum() == 4


def test_state_dict_fills_an_architecture(model: Path, tmp_path: Path) -> None:
    locked, code = lock(model), tmp_path / "net.py"
    code.write_text(
        "import paddle\n"
        "from tests.paddle_models import new_layer\n"
        "def net():\n    return new_layer(4)\n"
        "def other():\n    return new_layer(5)\n"
        "def more():\n    return paddle.nn.Linear(4, 4)\n"
    )
    layer = PADDLE.load(locked, CONTENT_KEY, architecture=f"{code}:net")
    expected = new_layer(4, WEIGHTS)(import_paddle().to_tensor(X)).numpy()
    assert PADDLE.infer(layer, {"x": X}, "cpu")["output"].tobytes() == expected.tobytes()
    assert [spec.name for spec in PADDLE.signature(layer).inputs] == ["x"]
    assert_refused("usage", PADDLE.infer, layer, {"y": X}, "cpu")
    for name in ("other", "more"):
        error = assert_refused("model_rejected", PADDLE.load, locked, CONTENT_KEY, architecture=f"{code}:{name}")
        assert "the state dict is not that of" in error.message
    assert_refused("usage", PADDLE.load, locked, CONTENT_KEY, architecture=f"{code}:missing")


def test_state_dict_cannot_run_by_itself(model: Path) -> None:
    state = PADDLE.load(lock(model), CONTENT_KEY)
    for call in (lambda: PADDLE.infer(state, {"x": X}, "cpu"), lambda: PADDLE.signature(state)):
        error = assert_refused("model_type_mismatch", call)
        assert "--architecture" in error.hints[0]


def test_file_of_the_old_toolkit(model: Path, tmp_path: Path) -> None:
    (tmp_path / "m.crt").write_bytes(Fernet(content_key_base64(CONTENT_KEY)).encrypt(model.read_bytes()))
    state = PADDLE.load(tmp_path / "m.crt", CONTENT_KEY, return_numpy=True)
    assert np.array_equal(state["last.bias"], WEIGHTS["last.bias"])


# What does not come back.


def test_truncated_state_dict(model: Path) -> None:
    data = model.read_bytes()
    model.write_bytes(data[:-1])
    error = assert_refused("model_source_invalid", lock, model)
    assert "cut short" in error.message
    model.write_bytes(data[1:])
    assert_refused("model_type_mismatch", lock, model)
    model.write_bytes(data[:50] + b".")  # It ends as pickles do.
    error = assert_refused("model_rejected", PADDLE.load, lock(model), CONTENT_KEY)
    assert isinstance(error.__cause__, pickle.UnpicklingError | EOFError)


def test_hostile_state_dict_runs_nothing(model: Path) -> None:
    ran.clear()
    hostile = {"w": Calling(ran.append, "code"), "StructuredToParameterName@@": {}}
    model.write_bytes(pickle.dumps(hostile, 4))
    locked = lock(model)
    for call in (PADDLE.load, PADDLE.decrypt):
        error = assert_refused("unsafe_pickle", call, locked, CONTENT_KEY)
        assert "weights_only=False" in error.hints[0]
    assert PADDLE.run_options("cpu", None, True)["weights_only"] is False
    PADDLE.load(locked, CONTENT_KEY, weights_only=False)


HOSTILE: dict[str, Any] = {
    "system": Calling(os.system, "true"),
    "eval": Calling(eval, "1"),
    "getattr": Calling(getattr, 1, "real"),
    "numpy.load": Calling(np.load, "x"),
    "array by its class": Calling(np.ndarray, (2,)),
    "array of another size": Calling(MULTIARRAY, np.ndarray, (5,), b"b"),
    "array of another class": Calling(MULTIARRAY, np.matrix, (0,), b"b"),
    "type of objects": Calling(np.dtype, "O", False, True),
    "type with fields": Calling(np.dtype, [("a", "f4")], False, True),
    "dict with content": Calling(collections.OrderedDict, [("a", 1)]),
    "tuple of a list": Calling(tuple, [1]),
    "array of objects": np.array([1, "a"], object),
    "array of texts": np.array(["a"]),
    "array of structures": np.zeros(2, [("a", "f4")]),
    "array of dates": np.zeros(2, "M8[s]"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_that_are_more_than_weights(name: str, protocol: int) -> None:
    with pytest.raises(UnsafePickleError):
        check_weights_only(io.BytesIO(pickle.dumps({"w": HOSTILE[name]}, protocol)))


BY_HAND = {
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'true'\no.",
    "NEWOBJ of an array": b"\x80\x02cnumpy\nndarray\n(K\x02tp0\n\x81.",
    "NEWOBJ of a tuple": b"\x80\x02cbuiltins\ntuple\n))\x81.",
    "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0bcore.os.sys\x93.",
    "attributes of a class": b"\x80\x02cnumpy\nndarray\n}(X\x01\x00\x00\x00aK\x01ub.",
    "attributes of a function": b"\x80\x02cnumpy\ndtype\nN}(X\x0c\x00\x00\x00__defaults__)u\x86b.",
    "a persistent object": b"\x80\x02Px\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "an item of an array": b"\x80\x02cnumpy\nndarray\nK\x01K\x02s.",
}


@pytest.mark.parametrize("name", BY_HAND)
def test_pickles_that_no_program_writes(name: str) -> None:
    with pytest.raises((UnsafePickleError, pickle.UnpicklingError, AttributeError, TypeError, ValueError)):
        check_weights_only(io.BytesIO(BY_HAND[name]))


def test_a_pickle_cannot_write_to_the_terminal() -> None:
    """The message shows the name that a pickle gives; a terminal would obey what stands in it here."""
    with pytest.raises(UnsafePickleError) as caught:
        check_weights_only(io.BytesIO(b"cos\x1b[2J\nsystem\x07\n."))
    assert caught.value.message.endswith("it names os�[2J.system�")


@pytest.mark.parametrize("flags", [b"K\x3f", b"K\x01"])
def test_array_types_that_lie_about_themselves(flags: bytes) -> None:
    """NumPy believes what it reads here: a number that claims to be an object is an address."""
    good = pickle.dumps({"w": np.ones(4, np.float32)}, 4)
    nothing = b"J\xff\xff\xff\xffJ\xff\xff\xff\xff"
    check_weights_only(io.BytesIO(good))
    assert good.count(nothing + b"K\x00") == 1
    with pytest.raises(UnsafePickleError):
        check_weights_only(io.BytesIO(good.replace(nothing + b"K\x00", nothing + flags)))
