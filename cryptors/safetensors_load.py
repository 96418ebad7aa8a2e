"""Safetensors files of a locked model, loaded without a second copy: tensors are views over one decrypted mapping."""

from typing import Any

from cryptors.frameworks import import_framework
from cryptors.memory import PlaintextFile, PlaintextMemory, wipe
from cryptors.reader import ModelFile
from cryptors.safetensors_file import TensorPlace, element_type, read_places, tensor_over
from licensing.errors import UsageError

__all__ = ["check_framework", "load_file", "load_path"]

ALIGNMENT = 64
"""Where the data of a file begins in memory, in bytes: as PyTorch aligns what it allocates itself."""

_MODULES = {"pt": ("safetensors.torch", "torch"), "np": ("safetensors.numpy", "numpy")}


def check_framework(framework: str) -> None:
    """Refuses what is no framework for tensors, or is not installed.

    Raises:
        UsageError, FrameworkMissingError: which one.
    """
    if framework not in _MODULES:
        raise UsageError(f"the framework for safetensors is 'pt' or 'np', not {framework!r}")
    import_framework("safetensors", "safetensors")
    import_framework(_MODULES[framework][1], "torch" if framework == "pt" else "safetensors")


def load_file(file: ModelFile, framework: str, device: Any) -> dict[str, Any]:
    """Returns the tensors of a file of a locked model, by name.

    Args:
        file: the safetensors file.
        framework: "pt" or "np".
        device: where PyTorch tensors go.
    """
    places = read_places(file)
    elements = [] if places is None else [element_type(framework, place.dtype) for place in places]
    if places is None or None in elements:
        with PlaintextFile(file.size) as memory_file:
            file.read_all_into(memory_file.view)
            memory_file.seal()
            return load_path(memory_file.path, framework, device)
    start = places[0].offset if places else 0
    lead = -start % ALIGNMENT
    memory = PlaintextMemory(lead + file.size)
    view = memory.view[lead:]
    file.read_all_into(view)
    try:
        return {
            place.name: _tensor(view, place, framework, element, device)
            for place, element in zip(places, elements, strict=True)
        }
    except BaseException:
        wipe(view)
        raise


def load_path(path: str, framework: str, device: Any) -> dict[str, Any]:
    """Returns the tensors of a plaintext file, as the package safetensors loads them."""
    module = import_framework(_MODULES[framework][0], "safetensors")
    tensors: dict[str, Any] = module.load_file(path, device=device) if framework == "pt" else module.load_file(path)
    return tensors


def _tensor(view: memoryview, place: TensorPlace, framework: str, element: Any, device: Any) -> Any:
    tensor = tensor_over(framework, view[place.offset : place.offset + place.size], element, place.shape)
    return tensor.to(device) if framework == "pt" else tensor
