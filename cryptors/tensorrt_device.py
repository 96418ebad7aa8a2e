"""The GPU that TensorRT works on, found and chosen through CUDA's driver interface."""

from typing import Any

from cryptors.devices import cuda_index
from cryptors.errors import FrameworkMissingError, FrameworkUnsuitableError
from cryptors.frameworks import import_framework
from licensing.errors import UsageError

__all__ = ["checked", "gpu_index", "use_gpu"]


def use_gpu(device: str) -> Any:
    """Makes a GPU the one that this thread computes on, and returns the module `cuda.bindings.driver`.

    This comes before any call of TensorRT, whose lean runtime crashes the process where there is no GPU. A context of
    the caller's own on this GPU, such as pycuda makes, stays in use; without one it is the GPU's primary context, as
    all that is built on CUDA's runtime shares it.

    Args:
        device: "cuda:N" or "cuda".

    Raises:
        UsageError: it is no GPU, or there are fewer.
        FrameworkMissingError: CUDA finds no GPU, or cuda-bindings is not installed.
        FrameworkUnsuitableError: CUDA cannot use it, for example because another process has it for itself.
    """
    index = gpu_index(device)
    driver = import_framework("cuda.bindings.driver", "tensorrt")
    count = _count_gpus(driver)
    if index >= count:
        raise UsageError(f"there is no device {device!r}", f"CUDA finds {count} here")
    try:
        gpu = checked(driver.cuDeviceGet(index))
        current = checked(driver.cuCtxGetCurrent())
        if not int(current) or int(checked(driver.cuCtxGetDevice())) != int(gpu):
            checked(driver.cuCtxSetCurrent(checked(driver.cuDevicePrimaryCtxRetain(gpu))))
    except RuntimeError as cause:
        raise FrameworkUnsuitableError(f"the device {device!r} cannot be used: {cause}") from cause
    return driver


def gpu_index(device: str) -> int:
    """Returns the number in the name of a GPU.

    Raises:
        UsageError: it is no GPU's name.
    """
    if device == "cpu":
        raise UsageError("TensorRT runs on GPUs, not on the CPU", "name one: --device cuda:0")
    index = cuda_index(device)
    if index is None:
        raise UsageError(f"there is no device {device!r}", "write cuda:N")
    return index


def checked(result: tuple[Any, ...]) -> Any:
    """Returns what a function of CUDA's driver gives beside its error code.

    Raises:
        RuntimeError: the error code is one.
    """
    error, *values = result
    if int(error):
        raise RuntimeError(f"CUDA failed with {error.name}")
    return values[0] if values else None


def _count_gpus(driver: Any) -> int:
    try:
        checked(driver.cuInit(0))
        count = int(checked(driver.cuDeviceGetCount()))
    except RuntimeError as cause:  # Also what cuda-bindings raises without a driver.
        raise _no_gpu() from cause
    if not count:
        raise _no_gpu()
    return count


def _no_gpu() -> FrameworkMissingError:
    return FrameworkMissingError(
        "this model needs an NVIDIA GPU, and CUDA finds none here", "check that 'nvidia-smi -L' lists one"
    )
