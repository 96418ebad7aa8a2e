"""Safetensors files of a locked model, loaded without a second copy: tensors are views over one decrypted mapping."""

from collections.abc import Callable
from typing import Any

from cryptors.device_ring import DeviceRing
from cryptors.frameworks import import_framework
from cryptors.memory import PlaintextFile, PlaintextMemory, wipe
from cryptors.reader import ModelFile
from cryptors.safetensors_file import TensorPlace, element_type, read_places, tensor_over
from licensing.errors import UsageError

__all__ = ["check_framework", "load_file", "load_path"]

ALIGNMENT = 8
"""Where the data of a file begins in memory, in bytes.

Writers align it in the file already, and so the data lies as in the mapping that the package safetensors makes of the
plaintext. Kernels choose by alignment in which order they add; thus they add in the same one.
"""

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
    elements = {place.name: element_type(framework, place.dtype) for place in places or ()}
    if places is None or None in elements.values():
        with PlaintextFile(file.size) as memory:
            file.read_all_into(memory.view)
            memory.seal()
            return load_path(memory.path, framework, device)
    if framework == "np":
        return _over_memory(
            file, places, lambda view, place: tensor_over("np", view, elements[place.name], place.shape)
        )
    torch = import_framework("torch", "torch")
    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.is_available():
        return load_to_device(torch, file, places, device)
    return _over_memory(
        file, places, lambda view, place: tensor_over("pt", view, elements[place.name], place.shape).to(device)
    )


def load_to_device(torch: Any, file: ModelFile, places: list[TensorPlace], device: Any) -> dict[str, Any]:
    """Returns PyTorch tensors on a device; the host holds a ring of buffers alone."""
    tensors: dict[str, Any] = {}
    with DeviceRing(file, device) as ring:
        for place in places:
            target = torch.empty(place.size, dtype=torch.uint8, device=device)
            ring.fill(target, place.offset)
            tensors[place.name] = target.view(element_type("pt", place.dtype)).reshape(place.shape)
    return tensors


def load_path(path: str, framework: str, device: Any) -> dict[str, Any]:
    """Returns the tensors of a plaintext file, as the package safetensors loads them."""
    module = import_framework(_MODULES[framework][0], "safetensors")
    tensors: dict[str, Any] = module.load_file(path, device=device) if framework == "pt" else module.load_file(path)
    return tensors


def _over_memory(
    file: ModelFile, places: list[TensorPlace], make: Callable[[memoryview, TensorPlace], Any]
) -> dict[str, Any]:
    """Returns tensors that `make` makes over parts of one memory."""
    lead = -places[0].offset % ALIGNMENT if places else 0
    memory = PlaintextMemory(lead + file.size)
    view = memory.view[lead:]
    file.read_all_into(view)
    try:
        return {place.name: make(view[place.offset : place.offset + place.size], place) for place in places}
    except BaseException:
        wipe(view)
        raise
