"""Builds nvml.c and cuda.c, and starts programs where they find the results in place of NVIDIA's libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from licensing.gpus import Gpu, GpuReading
from tests.components import need
from tests.fake_nvml.description import Box

__all__ = ["CUDA_LIBRARY_NAME", "LIBRARY_NAME", "FakeNvml", "compile_cuda", "compile_library"]

LIBRARY_NAME = "libnvidia-ml.so.1"
CUDA_LIBRARY_NAME = "libcuda.so.1"

DRIVER_FOLDER = "/run/opengl-driver/lib"
"""Where NixOS has its driver: a place for drivers under a folder that every system has, and nothing here needs."""

_INSTALL = f"""
set -e
mount -t tmpfs none /run
mkdir -p {DRIVER_FOLDER}
cp "$1"/* {DRIVER_FOLDER}/
[ ! -d /proc/driver/nvidia ] || mount -t tmpfs none /proc/driver/nvidia
shift
exec "$@"
"""

_FOLDER = Path(__file__).parent
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
    _compile(_FOLDER / "nvml.c", folder / LIBRARY_NAME, without)
    return folder


def compile_cuda(folder: Path, without: str | None = None) -> Path:
    """Compiles the fake of CUDA into a folder; as `compile_library`."""
    _compile(_FOLDER / "cuda.c", folder / CUDA_LIBRARY_NAME, without)
    return folder


def _compile(source: Path, target: Path, without: str | None) -> None:
    renamed = [] if without is None else [f"-D{without}=absent_{without}"]
    command = ["cc", "-shared", "-fPIC", "-Wall", "-Werror", *renamed, "-o", str(target), str(source)]
    subprocess.run(command, check=True)


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
        return {"LD_LIBRARY_PATH": path, **self._descriptions(box)}

    def installed(self, box: Box) -> tuple[list[str], dict[str, str]]:
        """Returns a prefix and the environment variables with which a command sees this box as a real one.

        The libraries lie where root alone can have put them: in a place for drivers, on a file system that only the
        command sees. Processes that find them by `LD_LIBRARY_PATH` alone are told that this is no driver.
        """
        need("unshare")
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        prefix = ["unshare", *user, "--mount", "--propagation", "private", "sh", "-c", _INSTALL, "sh"]
        path = os.pathsep.join(filter(None, [DRIVER_FOLDER, os.environ.get("LD_LIBRARY_PATH")]))
        return [*prefix, str(self.library)], {"LD_LIBRARY_PATH": path, **self._descriptions(box)}

    def read_gpus(self, box: Box) -> GpuReading:
        """Returns what `licensing.gpus.read_gpus` returns in a process on this box."""
        return self.read_gpus_of_each(box)[0]

    def read_gpus_of_each(self, *boxes: Box) -> list[GpuReading]:
        """Returns what `read_gpus` returns, time after time in one process, as the box changes beneath it."""
        descriptions = [str(self._write(box.encode())) for box in boxes]
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

    def _descriptions(self, box: Box) -> dict[str, str]:
        return {"FAKE_NVML": str(self._write(box.encode())), "FAKE_CUDA": str(self._write(box.encode_cuda()))}

    def _write(self, text: bytes) -> Path:
        description = self._scratch / f"box-{len(list(self._scratch.iterdir()))}.txt"
        description.write_bytes(text)
        return description


def _reading(fields: dict[str, Any]) -> GpuReading:
    gpus = tuple(Gpu(**gpu) for gpu in fields["gpus"])
    return GpuReading(gpus, fields["driver_version"], tuple(fields["problems"]))
