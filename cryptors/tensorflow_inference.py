"""TensorFlow itself: importing it, its devices, what it says when it fails, and running a SavedModel's signature."""

import contextlib
import itertools
import os
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from cryptors.devices import gpu_index
from cryptors.errors import FrameworkMissingError, ModelRejectedError, ModelTypeError
from cryptors.frameworks import first_line, import_framework
from cryptors.signature import Signature, TensorSpec, bind_inputs
from licensing.errors import UsageError

__all__ = [
    "arrays_by_name",
    "import_tensorflow",
    "let_go",
    "on_device",
    "reason_of",
    "run_saved_model",
    "running",
    "saved_model_signature",
    "tensor_spec",
]

DEFAULT_SIGNATURE = "serving_default"


def import_tensorflow() -> Any:
    """Returns TensorFlow, whose native code keeps remarks about itself from standard error; its errors still go there.

    Raises:
        FrameworkMissingError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # It is read on import, and means nothing afterwards.
    return import_framework("tensorflow", "tensorflow")


def on_device(device: str | None) -> AbstractContextManager[Any]:
    """Returns a context in which TensorFlow keeps variables, and computes, on a device.

    Args:
        device: "cpu", "cuda" or "cuda:N"; None leaves the choice to TensorFlow, which takes a GPU where it finds one.

    Raises:
        UsageError: there is no such device.
        FrameworkMissingError: TensorFlow finds no GPU.
    """
    tensorflow = import_tensorflow()
    if device is None:
        return contextlib.nullcontext()
    index = gpu_index(device)
    if index is not None:
        found = len(tensorflow.config.list_logical_devices("GPU"))
        if not found:
            raise FrameworkMissingError(
                "TensorFlow finds no CUDA device here",
                "check that 'nvidia-smi -L' lists a GPU, and install tensorflow[and-cuda], or use the device cpu",
            )
        if index >= found:
            raise UsageError(f"there is no device {device!r}", f"TensorFlow finds {found} here")
    context: AbstractContextManager[Any] = tensorflow.device("/CPU:0" if index is None else f"/GPU:{index}")
    return context


def saved_model_signature(loaded: Any) -> Signature:
    """Returns the inputs and outputs of a SavedModel's signature.

    Raises:
        ModelTypeError: it has none, or several of which none is the default.
    """
    function = _function(loaded)
    return Signature(
        tuple(tensor_spec(name, spec) for name, spec in function.structured_input_signature[1].items()),
        tuple(tensor_spec(name, spec) for name, spec in function.structured_outputs.items()),
    )


def run_saved_model(loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
    """Calls a SavedModel's signature, "serving_default" or the only one, on arrays by name.

    Raises:
        ModelTypeError: as in `saved_model_signature`.
        UsageError: the inputs are not those of the signature.
        ModelRejectedError: TensorFlow failed.
    """
    tensorflow, function = import_tensorflow(), _function(loaded)
    bound = bind_inputs(inputs, list(function.structured_input_signature[1]))
    with on_device(device), running():
        outputs = function(**{name: tensorflow.constant(array) for name, array in bound.items()})
        return arrays_by_name(outputs)


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Converts what TensorFlow and Keras raise while a model runs."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as cause:
        raise ModelRejectedError(f"TensorFlow could not run the model: {reason_of(cause)}") from cause


def arrays_by_name(tensors: dict[str, Any]) -> dict[str, Any]:
    """Returns tensors as NumPy arrays; texts as NumPy's bytes, because an `.npz` file holds no Python objects."""
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return {name: array.astype("S") if array.dtype == object else array for name, array in arrays.items()}


def tensor_spec(name: str, tensor: Any) -> TensorSpec:
    """Returns what TensorFlow or Keras says of a tensor."""
    dtype, shape = getattr(tensor.dtype, "name", tensor.dtype), tensor.shape
    rank = getattr(shape, "rank", len(shape) if isinstance(shape, tuple) else None)
    return TensorSpec(name, str(dtype), None if rank is None else tuple(shape))


def let_go(error: BaseException) -> None:
    """Clears the frames of an error and of those before it, which hold what they had opened for as long as it lives."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__context__


def reason_of(cause: Exception) -> str:
    """Returns the line of an error in which TensorFlow says what is wrong.

    An error within a graph can begin with where it happened, and names the node behind what happened.
    """
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    for before, line in itertools.pairwise(lines):
        if lines[0] == "Graph execution error:" and line.startswith("[["):
            return before[:200].rstrip(" .!")
    return first_line(cause)


def _function(loaded: Any) -> Any:
    names = sorted(loaded.signatures)
    if DEFAULT_SIGNATURE in names or len(names) == 1:
        return loaded.signatures[DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in names else names[0]]
    if not names:
        raise ModelTypeError("the model was saved without a signature", "call the functions of what load() returns")
    raise ModelTypeError(
        f"the model has no signature {DEFAULT_SIGNATURE!r}",
        f"it has {', '.join(map(repr, names))}: call signatures[…] of what load() returns",
    )
