"""Names of devices, as `--device` and the option `device` of `load` take them: "cpu", "cuda" or "cuda:N".

Each framework has its own words for devices. What the names mean is the same for all of them, and said here alone.
"""

from typing import Any

from licensing.cuda_devices import cuda_index
from licensing.errors import UsageError

__all__ = ["cuda_index", "device_named", "gpu_index"]


def gpu_index(device: str) -> int | None:
    """Returns N for "cuda:N", 0 for "cuda", and None for "cpu".

    Raises:
        UsageError: there is no such device.
    """
    if device == "cpu":
        return None
    index = cuda_index(device)
    if index is None:
        raise UsageError(f"there is no device {device[:20]!r}", "write cpu or cuda:N")
    return index


def device_named(value: Any) -> str | None:
    """Returns the name of a device that a caller gave to a framework, and None where it names none.

    Args:
        value: a name; a `torch.device`; a number, which is a GPU's for PyTorch and safetensors; or what else
            frameworks take, such as a function that chooses a device for each tensor.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"cuda:{value}"
    return str(value) if type(value).__name__ == "device" else None
