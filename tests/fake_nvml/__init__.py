"""NVML and CUDA without NVIDIA: the real pynvml, talking to a small C library that answers as a test says.

Tests take the fixture `fake_nvml`, describe a `Box`, and read its GPUs in a process of their own: pynvml loads its
library once per process.
"""

from tests.fake_nvml.description import EVERY_FUNCTION, Box, Failure, FakeGpu, FakeMig
from tests.fake_nvml.library import CUDA_LIBRARY_NAME, LIBRARY_NAME, FakeNvml, compile_cuda, compile_library

__all__ = [
    "CUDA_LIBRARY_NAME",
    "EVERY_FUNCTION",
    "LIBRARY_NAME",
    "Box",
    "Failure",
    "FakeGpu",
    "FakeMig",
    "FakeNvml",
    "compile_cuda",
    "compile_library",
]
