"""A stand-in for `cuda.bindings.driver` with one GPU. It is no CUDA: what it calls the GPU's memory is this process's.

Types, enumerations and error codes are those of cuda-bindings itself, which can be imported without a driver.
"""

import ctypes
from typing import Any

from cuda.bindings import driver as real

__all__ = ["DriverStandIn"]

SUCCESS = real.CUresult.CUDA_SUCCESS
INVALID = real.CUresult.CUDA_ERROR_INVALID_VALUE
NO_DEVICE = real.CUresult.CUDA_ERROR_NO_DEVICE


class DriverStandIn:
    """What stands in `sys.modules` for the module.

    Attributes:
        gpus: how many GPUs it finds.
        blocks: the GPU's memory that is in use, by address; copies that leave it fail.
        context: the thread's context, as a number; each GPU's primary context is its index plus 100.
        streams: those that are not destroyed.
    """

    __spec__ = None

    def __init__(self, gpus: int = 1) -> None:
        self.gpus = gpus
        self.blocks: dict[int, Any] = {}
        self.context = 0
        self.streams: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        """Returns what is no function of the driver's, for us and for PyTorch, which imports the module as well."""
        return getattr(real, name)

    def cuInit(self, flags: int) -> tuple[Any, ...]:
        return (SUCCESS if self.gpus else NO_DEVICE,)

    def cuDeviceGetCount(self) -> tuple[Any, ...]:
        return SUCCESS, self.gpus

    def cuDeviceGet(self, index: int) -> tuple[Any, ...]:
        return SUCCESS, real.CUdevice(index)

    def cuCtxGetCurrent(self) -> tuple[Any, ...]:
        return SUCCESS, real.CUcontext(self.context)

    def cuCtxGetDevice(self) -> tuple[Any, ...]:
        return SUCCESS, real.CUdevice(self.context % 100)

    def cuDevicePrimaryCtxRetain(self, gpu: Any) -> tuple[Any, ...]:
        return SUCCESS, real.CUcontext(int(gpu) + 100)

    def cuCtxSetCurrent(self, context: Any) -> tuple[Any, ...]:
        self.context = int(context)
        return (SUCCESS,)

    def cuMemAlloc(self, size: int) -> tuple[Any, ...]:
        if size == 0:
            return INVALID, None
        block = ctypes.create_string_buffer(b"\xaa" * size, size)
        self.blocks[ctypes.addressof(block)] = block
        return SUCCESS, real.CUdeviceptr(ctypes.addressof(block))

    def cuMemFree(self, pointer: Any) -> tuple[Any, ...]:
        return (SUCCESS if self.blocks.pop(int(pointer), None) is not None else INVALID,)

    def cuMemcpyHtoD(self, target: int, source: int, size: int) -> tuple[Any, ...]:
        if size > len(self.blocks.get(int(target), b"")):
            return (INVALID,)
        ctypes.memmove(int(target), source, size)
        return (SUCCESS,)

    def cuMemcpyDtoH(self, target: int, source: int, size: int) -> tuple[Any, ...]:
        if size > len(self.blocks.get(int(source), b"")):
            return (INVALID,)
        ctypes.memmove(target, int(source), size)
        return (SUCCESS,)

    def cuStreamCreate(self, flags: int) -> tuple[Any, ...]:
        stream = real.CUstream(7000 + len(self.streams))
        self.streams.add(int(stream))
        return SUCCESS, stream

    def cuStreamSynchronize(self, stream: Any) -> tuple[Any, ...]:
        return (SUCCESS if int(stream) in self.streams else INVALID,)

    def cuStreamDestroy(self, stream: Any) -> tuple[Any, ...]:
        self.streams.remove(int(stream))
        return (SUCCESS,)
