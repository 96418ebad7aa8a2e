"""TensorFlow's forms: SavedModel, Keras's own files, and what LiteRT runs."""

from pathlib import Path
from typing import Any

from cryptors import ModelType
from cryptors.tensorflow_inference import import_tensorflow
from tests.real_models.kind import Arrays, Kind, RealModel, kept
from tests.real_models.minilm import MINILM
from tests.real_models.resnet18 import RESNET18
from tests.real_models.tensorflow_minilm import keras_minilm
from tests.real_models.tensorflow_resnet18 import keras_resnet18

__all__ = ["KINDS"]


def keras_model(model: RealModel) -> Any:
    import_tensorflow()
    return keras_resnet18() if model is RESNET18 else keras_minilm()


def inputs(model: RealModel) -> Arrays:
    """Returns the model's inputs; TensorFlow has the channels of images last."""
    arrays = model.inputs()
    return {"x": arrays["x"].transpose(0, 2, 3, 1)} if model is RESNET18 else arrays


@kept
def network(model: RealModel) -> tuple[Any, Any]:
    """Returns a module of TensorFlow's with the variables, and its function for inputs of the shapes that it gets."""
    tensorflow, keras_network = import_tensorflow(), keras_model(model)
    module = tensorflow.Module()
    module.kept = [variable.value for variable in keras_network.variables]
    compute = tensorflow.function(
        (lambda x: keras_network(x, training=False))
        if model is RESNET18
        else (lambda input_ids, attention_mask: keras_network([input_ids, attention_mask], training=False))
    )
    specs = {name: tensorflow.TensorSpec(array.shape, array.dtype, name) for name, array in inputs(model).items()}
    return module, compute.get_concrete_function(**specs)


def make_saved_model(model: RealModel, folder: Path) -> Path:
    module, function = network(model)
    import_tensorflow().saved_model.save(module, str(folder / "model"), function)
    return folder / "model"


def make_keras(model: RealModel, path: Path) -> Path:
    keras_model(model).save(path)
    return path


def make_litert(model: RealModel, folder: Path) -> Path:
    module, function = network(model)
    converter = import_tensorflow().lite.TFLiteConverter.from_concrete_functions([function], module)
    (folder / "model.tflite").write_bytes(converter.convert())
    return folder / "model.tflite"


def read_keras(path: Path) -> Any:
    import_tensorflow()
    import keras

    return keras.saving.load_model(path)


def read_litert(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path))


def run_saved_model(model: RealModel, loaded: Any) -> Any:
    constants = {name: import_tensorflow().constant(array) for name, array in inputs(model).items()}
    (output,) = loaded.signatures["serving_default"](**constants).values()
    return output.numpy()


def run_keras(model: RealModel, loaded: Any) -> Any:
    arrays = inputs(model)
    return loaded(arrays["x"] if model is RESNET18 else list(arrays.values()), training=False).numpy()


def run_litert(model: RealModel, interpreter: Any) -> Any:
    (output,) = interpreter.get_signature_runner()(**inputs(model)).values()
    return output


def kinds(model: RealModel) -> list[Kind]:
    """Returns the forms of one model."""

    def named() -> Arrays:
        return inputs(model)

    def keras_kind(form: str) -> Kind:
        return Kind(
            model, form, ModelType.MODEL_TENSORFLOW, lambda folder: make_keras(model, folder / f"model.{form}"),
            read_keras, lambda loaded: run_keras(model, loaded), named,
        )  # fmt: skip

    return [
        Kind(
            model, "savedmodel", ModelType.MODEL_TENSORFLOW, lambda folder: make_saved_model(model, folder),
            lambda path: import_tensorflow().saved_model.load(str(path)),
            lambda loaded: run_saved_model(model, loaded), named,
        ),
        keras_kind("keras"),
        # Keras writes MiniLM as HDF5, but does not read it back: that format has no operations, only layers.
        *([keras_kind("h5")] if model is RESNET18 else []),
        Kind(
            model, "litert", ModelType.MODEL_LITERT, lambda folder: make_litert(model, folder), read_litert,
            lambda interpreter: run_litert(model, interpreter), named,
        ),
    ]  # fmt: skip


KINDS = [*kinds(RESNET18), *kinds(MINILM)]
