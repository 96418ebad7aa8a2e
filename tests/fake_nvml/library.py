"""Builds nvml.c, and starts Python where pynvml finds the result in place of NVIDIA's library."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from licensing.gpus import Gpu, GpuReading
from tests.fake_nvml.description import Box

__all__ = ["LIBRARY_NAME", "FakeNvml", "compile_library"]

LIBRARY_NAME = "libnvidia-ml.so.1"

_SOURCE = Path(__file__).with_name("nvml.c")
_REPOSITORY = Path(__file__).parents[2]

_READ_EACH = """
import dataclasses, json, os, sys
from licensing.gpus import read_gpus
readings = []
for description in sys.argv[1:]:
    os.environ["FAKE_NVML"] = description
    readings.append(dataclasses.asdict(read_gpus()))
print(json.dumps(readings))
"""


def compile_library(folder: Path, without: str | None = None) -> Path:
    """Compiles the fake into a folder.

    Args:
        folder: where to put it.
        without: a function that the library shall lack, as a driver older or newer than pynvml does.

    Returns:
        The folder, for LD_LIBRARY_PATH.
    """
    renamed = [] if without is None else [f"-D{without}=absent_{without}"]
    command = ["cc", "-shared", "-fPIC", "-Wall", "-Werror", *renamed, "-o", str(folder / LIBRARY_NAME), str(_SOURCE)]
    subprocess.run(command, check=True)
    return folder


class FakeNvml:
    """One build of the library, and processes that use it.

    Args:
        library: the folder that holds a file of NVML's name; the file may be anything.
        scratch: a folder for description files.
    """

    def __init__(self, library: Path, scratch: Path) -> None:
        self.library = library
        self._scratch = scratch

    def __call__(self, box: Box) -> dict[str, str]:
        """Returns the environment variables with which a new process sees this box."""
        path = os.pathsep.join(filter(None, [str(self.library), os.environ.get("LD_LIBRARY_PATH")]))
        return {"LD_LIBRARY_PATH": path, "FAKE_NVML": str(self._write(box))}

    def read_gpus(self, box: Box) -> GpuReading:
        """Returns what `licensing.gpus.read_gpus` returns in a process on this box."""
        return self.read_gpus_of_each(box)[0]

    def read_gpus_of_each(self, *boxes: Box) -> list[GpuReading]:
        """Returns what `read_gpus` returns, time after time in one process, as the box changes beneath it."""
        descriptions = [str(self._write(box)) for box in boxes]
        return [_reading(each) for each in self.run(_READ_EACH, *descriptions, box=boxes[0])]

    def run(self, code: str, *arguments: str, box: Box) -> Any:
        """Runs Python code in a process on this box.

        Returns:
            The JSON value that it printed.

        Raises:
            AssertionError: the process failed, or a traceback was printed.
        """
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=_REPOSITORY,
            env={**os.environ, **self(box)},
            capture_output=True,
            encoding="utf-8",
            timeout=60,  # A probe that counts to four billion shall fail its test, and not stop the others.
        )
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr, result.stderr
        return json.loads(result.stdout)

    def _write(self, box: Box) -> Path:
        description = self._scratch / f"box-{len(list(self._scratch.iterdir()))}.txt"
        description.write_bytes(box.encode())
        return description


def _reading(fields: dict[str, Any]) -> GpuReading:
    gpus = tuple(Gpu(**gpu) for gpu in fields["gpus"])
    return GpuReading(gpus, fields["driver_version"], tuple(fields["problems"]))
