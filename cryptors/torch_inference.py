"""Running a PyTorch module on named arrays, for `weightlock run`."""

import inspect
import sys
from typing import Any

from cryptors.devices import cuda_index, device_named
from cryptors.errors import FrameworkMissingError, ModelRejectedError, ModelTypeError
from cryptors.frameworks import first_line, import_framework
from cryptors.signature import Signature, TensorSpec
from licensing.errors import UsageError

__all__ = ["check_device", "module_signature", "run_module", "torch_device"]


def check_device(device: str) -> None:
    """Refuses a device that PyTorch does not have here, before anything is decrypted for it.

    Args:
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        FrameworkMissingError: this PyTorch has no CUDA support, or finds no GPU.
        UsageError: there are fewer GPUs, or it is no name of one.
    """
    index = cuda_index(device)
    if index is None:
        return
    cuda = import_framework("torch", "torch").cuda
    if not cuda.is_available():
        raise FrameworkMissingError(
            "PyTorch finds no CUDA device here", "check that 'nvidia-smi -L' lists a GPU, or use --device cpu"
        )
    if index >= cuda.device_count():
        raise UsageError(f"there is no device {device!r}", f"PyTorch finds {cuda.device_count()} here")


def torch_device(value: Any) -> str | None:
    """Returns the device that PyTorch means by `map_location` or `device`; None where it is no single one.

    "cuda" without a number is the GPU that the program has chosen, once it has begun to use one.
    """
    device = device_named(value)
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if device == "cuda" and cuda is not None and cuda.is_initialized():
        return f"cuda:{cuda.current_device()}"
    return device


def module_signature(module: Any) -> Signature:
    """Returns the names of a module's inputs, which is all that PyTorch knows of them.

    Raises:
        ModelTypeError: it is no module.
    """
    if not callable(getattr(module, "forward", None)):
        raise ModelTypeError("a set of tensors takes no inputs", "name the code that builds its module")
    return Signature(tuple(TensorSpec(name) for name in _parameter_names(module)), ())


def run_module(module: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
    """Calls a module in inference mode.

    Args:
        module: an `nn.Module` or a script module.
        inputs: NumPy arrays; passed by name where all names are parameters of `forward`, by position where they
            are "arr_0", "arr_1", … as `numpy.savez` calls unnamed arrays.
        device: where to compute.

    Returns:
        NumPy arrays: "output" for a tensor, "output_0", … for a sequence, the keys for a dict.

    Raises:
        UsageError: the module has no input of such a name.
        ModelRejectedError: PyTorch failed.
    """
    torch = import_framework("torch", "torch")
    named = dict(inputs)
    positional = [named.pop(name) for name in (f"arr_{number}" for number in range(len(inputs))) if name in named]
    parameters = _parameter_names(module)
    if unknown := sorted(set(named) - set(parameters)):
        raise UsageError(
            f"the model has no input {unknown[0]!r}", f"it has {', '.join(map(repr, parameters)) or 'none with a name'}"
        )
    try:
        with torch.inference_mode():
            arguments = [torch.from_numpy(array).to(device) for array in positional]
            keywords = {name: torch.from_numpy(array).to(device) for name, array in named.items()}
            return _arrays(torch, module.to(device)(*arguments, **keywords))
    except Exception as cause:
        raise ModelRejectedError(f"PyTorch could not run the model: {first_line(cause)}") from cause


def _parameter_names(module: Any) -> list[str]:
    schema = getattr(getattr(module, "forward", None), "schema", None)
    if schema is not None:
        return [argument.name for argument in schema.arguments if argument.name != "self"]
    return list(inspect.signature(module.forward).parameters)


def _arrays(torch: Any, value: Any) -> dict[str, Any]:
    if isinstance(value, torch.Tensor):
        return {"output": value.cpu().numpy()}
    if isinstance(value, dict):
        return {str(name): item.cpu().numpy() for name, item in value.items()}
    return {f"output_{number}": item.cpu().numpy() for number, item in enumerate(value)}
