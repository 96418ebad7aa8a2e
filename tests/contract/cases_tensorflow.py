"""TensorFlow: a SavedModel, and Keras models as archives and in HDF5. TF-TRT: with a stand-in for its build."""

from pathlib import Path
from typing import Any

from cryptors import ModelType
from tests.contract.case import Arrays, Case, inputs, trained_weights
from tests.standins.tensorrt_enabled_standin import tensorrt_enabled, write_unused_engine

__all__ = ["CASES"]


def import_tensorflow() -> Any:
    from cryptors.tensorflow_inference import import_tensorflow

    return import_tensorflow()


def make_saved_model(folder: Path, width: int) -> Path:
    """Writes a model with a default signature of an input "x" and an output "y"."""
    tensorflow, weights = import_tensorflow(), trained_weights(width)
    network = tensorflow.Module()
    network.variables_by_name = {name: tensorflow.Variable(value) for name, value in weights.items()}

    def outputs(x: Any) -> Arrays:
        first, first_bias, last, last_bias = network.variables_by_name.values()
        hidden = tensorflow.nn.relu(tensorflow.matmul(x, first, transpose_b=True) + first_bias)
        return {"y": tensorflow.matmul(hidden, last, transpose_b=True) + last_bias}

    network.outputs = tensorflow.function(outputs, [tensorflow.TensorSpec([None, width], name="x")])
    tensorflow.saved_model.save(network, str(folder / "network"), {"serving_default": network.outputs})
    return folder / "network"


def read_saved_model(path: Path) -> Any:
    return import_tensorflow().saved_model.load(str(path))


def saved_model_outputs(loaded: Any) -> Arrays:
    function = loaded.signatures["serving_default"]
    width = function.structured_input_signature[1]["x"].shape[1]
    return {"y": function(x=import_tensorflow().constant(inputs(width)["x"]))["y"].numpy()}


def make_keras(path: Path, width: int) -> Path:
    import_tensorflow()
    import keras

    weights = trained_weights(width)
    x = keras.Input((width,), name="x")
    first, last = keras.layers.Dense(width, activation="relu"), keras.layers.Dense(3, name="y")
    network = keras.Model(x, last(first(x)))
    first.set_weights([weights["first.weight"].T, weights["first.bias"]])
    last.set_weights([weights["last.weight"].T, weights["last.bias"]])
    network.save(path)
    return path


def make_keras_archive(folder: Path, width: int) -> Path:
    return make_keras(folder / "network.keras", width)


def make_keras_hdf5(folder: Path, width: int) -> Path:
    return make_keras(folder / "network.h5", width)


def read_keras(path: Path) -> Any:
    import_tensorflow()
    import keras

    return keras.saving.load_model(path)


def keras_outputs(model: Any) -> Arrays:
    return {"y": model(inputs(model.inputs[0].shape[1])["x"], training=False).numpy()}


def run_saved_model(path: Path) -> Arrays:
    return saved_model_outputs(read_saved_model(path))


def run_keras(path: Path) -> Arrays:
    return keras_outputs(read_keras(path))


def make_tf2trt(folder: Path, width: int) -> Path:
    """Writes a SavedModel that any TensorFlow loads, though its graph names TF-TRT's operation: nothing calls it."""
    return write_unused_engine(make_saved_model(folder, width))


TENSORFLOW = {"tensorflow": "tensorflow"}

CASES = [
    # TensorFlow takes paths only, and copies what it finds there into its variables. Keras holds the model, and, while
    # it assigns a tensor, three more copies of that one; here, one tensor is nearly the whole model.
    Case(
        "tensorflow-savedmodel", ModelType.MODEL_TENSORFLOW, make_saved_model, read_saved_model, saved_model_outputs,
        run_saved_model, TENSORFLOW, peak=2.1,
    ),
    *(
        Case(name, ModelType.MODEL_TENSORFLOW, make, read_keras, keras_outputs, run_keras, TENSORFLOW, peak=4.1)
        for name, make in (("tensorflow-keras", make_keras_archive), ("tensorflow-h5", make_keras_hdf5))
    ),
    Case(
        "tf2trt", ModelType.MODEL_TF2TRT, make_tf2trt, read_saved_model, saved_model_outputs, run_saved_model,
        TENSORFLOW, stand_in=tensorrt_enabled,
    ),
]  # fmt: skip
