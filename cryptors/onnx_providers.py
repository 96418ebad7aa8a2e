"""ONNX Runtime's execution providers, and the devices that they stand for."""

from collections.abc import Sequence
from typing import Any

from cryptors.devices import gpu_index
from cryptors.errors import FrameworkMissingError

__all__ = ["device_of", "providers_for"]

CUDA_PROVIDERS = ("CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider")


def providers_for(onnxruntime: Any, device: str) -> list[Any]:
    """Returns the execution providers for a device.

    Raises:
        UsageError: there is no such device.
        FrameworkMissingError: this ONNX Runtime has no CUDA support.
    """
    index = gpu_index(device)
    if index is None:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise FrameworkMissingError("this ONNX Runtime has no CUDA support", "install it: pip install onnxruntime-gpu")
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def device_of(providers: Sequence[Any]) -> str | None:
    """Returns the GPU that execution providers compute on, as "cuda:N"; None where none of them uses one.

    Args:
        providers: as in `InferenceSession`: names, or pairs of a name and its options.
    """
    for provider in providers:
        name, options = (provider, {}) if isinstance(provider, str) else provider
        if name in CUDA_PROVIDERS:
            return f"cuda:{options.get('device_id', 0)}"
    return None
