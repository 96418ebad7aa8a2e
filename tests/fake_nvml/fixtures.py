"""The fixtures that tests/conftest.py hands to every test."""

from pathlib import Path

import pytest

from tests.fake_nvml.library import FakeNvml, compile_cuda, compile_library

__all__ = ["fake_nvml", "nvml_library"]


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder that holds the compiled libnvidia-ml.so.1 and libcuda.so.1."""
    return compile_cuda(compile_library(tmp_path_factory.mktemp("nvml")))


@pytest.fixture
def fake_nvml(nvml_library: Path, tmp_path_factory: pytest.TempPathFactory) -> FakeNvml:
    """Returns what shows a process any GPUs: `fake_nvml(Box(...))` are its environment variables."""
    return FakeNvml(nvml_library, tmp_path_factory.mktemp("boxes"))
