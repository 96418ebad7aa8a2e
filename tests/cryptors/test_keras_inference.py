"""Keras models: the names of inputs and outputs, however a model nests them."""

from typing import Any

import numpy as np
import pytest

from cryptors.keras_file import import_keras
from cryptors.signature import TensorSpec
from tests.cryptors.tensorflow_setting import TENSORFLOW, X, assert_refused


@pytest.fixture
def keras() -> Any:
    return import_keras()


def test_sequential(keras: Any) -> None:
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="y")])
    signature = TENSORFLOW.signature(model)
    assert signature.inputs == (TensorSpec("x", "float32", (None, 4)),)
    assert signature.outputs == (TensorSpec("y", "float32", (None, 3)),)
    named = TENSORFLOW.infer(model, {"x": X}, "cpu")
    assert named["y"].tobytes() == model(X).numpy().tobytes()
    assert TENSORFLOW.infer(model, {"arr_0": X}, "cpu")["y"].tobytes() == named["y"].tobytes()


@pytest.mark.parametrize("nesting", ["list", "dict", "other keys"])
def test_several_inputs_and_outputs(keras: Any, nesting: str) -> None:
    """Under the keys that the model has for them, else under the names of its layers."""
    b, a = keras.Input((4,), name="b"), keras.Input((2,), name="a")
    both, first = keras.layers.Concatenate(name="both")([b, a]), keras.layers.Dense(3, name="first")(b)
    if nesting == "list":
        model, keys, outputs = keras.Model([b, a], [both, first]), ["b", "a"], ["both", "first"]
    elif nesting == "dict":
        model, keys, outputs = keras.Model({"b": b, "a": a}, {"z": both, "c": first}), ["b", "a"], ["z", "c"]
    else:
        model, keys, outputs = keras.Model({"q": b, "p": a}, {"z": both, "c": first}), ["q", "p"], ["z", "c"]
    signature = TENSORFLOW.signature(model)
    assert [(each.name, each.shape) for each in signature.inputs] == [(keys[0], (None, 4)), (keys[1], (None, 2))]
    assert [(each.name, each.shape) for each in signature.outputs] == [(outputs[0], (None, 6)), (outputs[1], (None, 3))]
    short = X[:, :2] + 10
    found = TENSORFLOW.infer(model, {keys[1]: short, keys[0]: X}, "cpu")
    assert list(found) == outputs
    assert np.array_equal(found[outputs[0]], np.concatenate([X, short], axis=1))
    assert_refused("usage", TENSORFLOW.infer, model, {keys[0]: X}, "cpu")


def test_layer_with_several_outputs(keras: Any) -> None:
    x = keras.Input((3, 2), name="x")
    model = keras.Model(x, keras.layers.LSTM(2, return_state=True)(x))
    found = TENSORFLOW.infer(model, {"x": np.ones((1, 3, 2), np.float32)}, "cpu")
    assert list(found) == ["output_0", "output_1", "output_2"]
    assert [each.name for each in TENSORFLOW.signature(model).outputs] == list(found)


def test_dropout_is_for_training(keras: Any) -> None:
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dropout(0.9, name="y")])
    assert TENSORFLOW.infer(model, {"x": X}, "cpu")["y"].tobytes() == X.tobytes()


def test_class_of_its_own(keras: Any) -> None:
    class Own(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    for model in (Own(), keras.Sequential([keras.layers.Dense(3)])):
        assert_refused("model_type_mismatch", TENSORFLOW.signature, model)
        error = assert_refused("model_type_mismatch", TENSORFLOW.infer, model, {"x": X}, "cpu")
        assert error.message == "the Keras model does not say which inputs it takes"


def test_keras_on_another_backend(keras: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3)])
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    error = assert_refused("framework_unsuitable", TENSORFLOW.infer, model, {"x": X}, "cpu")
    assert error.message == "Keras computes with jax here, and not with TensorFlow"


def test_inputs_that_do_not_fit(keras: Any) -> None:
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="y")])
    for wrong in (X[:, :2], np.array(["text"]), np.array([{}], dtype=object)):
        error = assert_refused("model_rejected", TENSORFLOW.infer, model, {"x": wrong}, "cpu")
        assert error.message.startswith("TensorFlow could not run the model: ")
    assert_refused("usage", TENSORFLOW.infer, model, {"x": X}, "gpu")
