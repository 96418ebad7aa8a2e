"""What the tests on GPUs share; and in the end a summary of what they ran on."""

import importlib.metadata
import platform

import pytest

from licensing.gpus import read_gpus
from tests.gpu.box import box

__all__ = ["box", "pytest_terminal_summary"]

PACKAGES = [
    *("tensorrt", "tensorrt-lean", "tensorrt-dispatch", "tensorrt-rtx", "torch2trt"),
    *("cuda-bindings", "nvidia-ml-py", "torch", "onnxruntime", "onnxruntime-gpu", "safetensors"),
]


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Prints hardware, driver and versions, where a test of this folder was run or skipped."""
    reports = [report for kind in ("passed", "failed", "skipped") for report in terminalreporter.getreports(kind)]
    if any(report.nodeid.startswith("tests/gpu/") for report in reports):
        terminalreporter.section("GPUs, driver and versions")
        for line in environment():
            terminalreporter.line(line)


def environment() -> list[str]:
    """Returns a line for each."""
    reading = read_gpus()
    versions = {name: version_of(name) for name in PACKAGES}
    return [
        f"machine: {platform.machine()}, {platform.platform()}, Python {platform.python_version()}",
        *(f"GPU {gpu.index}: {gpu.name}" for gpu in reading.gpus),
        *([] if reading.gpus else ["no GPU"]),
        *reading.problems,
        f"driver: {reading.driver_version or 'none'}",
        *(f"{name}: {version}" for name, version in versions.items() if version is not None),
    ]


def version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
