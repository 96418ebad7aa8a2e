"""Running a PyTorch module on named arrays, for `weightlock run`."""

import inspect
from typing import Any

from cryptors.frameworks import import_framework
from licensing.errors import UsageError

__all__ = ["run_module"]


def run_module(module: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
    """Calls a module in inference mode.

    Args:
        module: an `nn.Module` or a script module.
        inputs: NumPy arrays; passed by name where all names are parameters of `forward`, by position where they
            are "arr_0", "arr_1", … as `numpy.savez` calls unnamed arrays.
        device: where to compute.

    Returns:
        NumPy arrays: "output" for a tensor, "output_0", … for a sequence, the keys for a dict.
    """
    torch = import_framework("torch", "torch")
    tensors = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
    positional = [tensors.pop(name) for name in (f"arr_{number}" for number in range(len(inputs))) if name in tensors]
    parameters = _parameter_names(module)
    if unknown := sorted(set(tensors) - set(parameters)):
        raise UsageError(
            f"the model has no input {unknown[0]!r}", f"it has {', '.join(map(repr, parameters)) or 'none with a name'}"
        )
    with torch.inference_mode():
        return _arrays(torch, module.to(device)(*positional, **tensors))


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
