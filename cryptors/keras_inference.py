"""Running a Keras model on named arrays, for `weightlock run`."""

from typing import Any

from cryptors.errors import FrameworkUnsuitableError, ModelTypeError
from cryptors.keras_file import import_keras
from cryptors.signature import Signature, bind_inputs
from cryptors.tensorflow_inference import arrays_by_name, import_tensorflow, on_device, running, tensor_spec

__all__ = ["keras_signature", "run_keras"]


def keras_signature(model: Any) -> Signature:
    """Returns the inputs and outputs of a Keras model.

    Raises:
        ModelTypeError: it is a class of its own, whose inputs Keras does not know.
    """
    inputs = _inputs(model)
    outputs = model.outputs[0] if _is_sequential(model) else model.output
    return Signature(
        tuple(tensor_spec(name, tensor) for name, tensor in _by_name(inputs, _input_names(inputs)).items()),
        tuple(tensor_spec(name, tensor) for name, tensor in _by_name(outputs, _output_names(model)).items()),
    )


def run_keras(model: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
    """Calls a Keras model, as for inference and not for training, on arrays by the names of its inputs.

    Raises:
        ModelTypeError: as in `keras_signature`.
        FrameworkUnsuitableError: Keras computes with something else than TensorFlow.
        UsageError: the inputs are not those of the model.
        ModelRejectedError: TensorFlow failed.
    """
    if (backend := import_keras().backend.backend()) != "tensorflow":
        raise FrameworkUnsuitableError(
            f"Keras computes with {backend} here, and not with TensorFlow",
            "set KERAS_BACKEND=tensorflow before Keras is imported, or call what load() returns",
        )
    tensorflow, wanted = import_tensorflow(), _inputs(model)
    names = list(_by_name(wanted, _input_names(wanted)))
    bound = bind_inputs(inputs, names)
    with on_device(device), running():
        tensors = {name: tensorflow.constant(bound[name]) for name in names}
        arguments = tensors if isinstance(wanted, dict) else _tree().pack_sequence_as(wanted, list(tensors.values()))
        return arrays_by_name(_by_name(model(arguments, training=False), _output_names(model)))


def _inputs(model: Any) -> Any:
    """Returns a model's symbolic inputs, nested as it takes them: one, or a list or dict of several."""
    try:
        return model.inputs[0] if _is_sequential(model) else model.input
    except AttributeError as cause:
        raise ModelTypeError(
            "the Keras model does not say which inputs it takes", "call what load() returns with its inputs"
        ) from cause


def _input_names(inputs: Any) -> list[str]:
    return [tensor.name for tensor in _tree().flatten(inputs)]


def _output_names(model: Any) -> list[str]:
    """Returns the names of the layers that give the outputs, as Keras itself names outputs."""
    return [model.layers[-1].name] if _is_sequential(model) else model.output_names


def _by_name(tensors: Any, names: list[str]) -> dict[str, Any]:
    """Returns tensors by the keys under which a model has them, or else by names."""
    if isinstance(tensors, dict):
        return tensors
    flat = _tree().flatten(tensors)
    if len(set(names)) != len(flat):  # One layer gives several outputs.
        names = [f"output_{number}" for number in range(len(flat))]
    return dict(zip(names, flat, strict=True))


def _is_sequential(model: Any) -> bool:
    return isinstance(model, import_keras().Sequential)


def _tree() -> Any:
    return import_keras().tree
