"""The fake answers pynvml as described, also where licensing does not ask yet, and mistakes in a test are loud."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from licensing.driver_library import DriverLibrary
from tests.fake_nvml import LIBRARY_NAME, Box, FakeGpu, FakeNvml
from tests.fake_nvml.library import DRIVER_FOLDER

_GPU = "GPU-00000000-0000-4000-8000-000000000000"

_READ_BOARD = """
import json, pynvml
pynvml.nvmlInit()
handle = pynvml.nvmlDeviceGetHandleByIndex(0)
pci = pynvml.nvmlDeviceGetPciInfo(handle)
print(json.dumps([pynvml.nvmlDeviceGetSerial(handle), pci.busId, pci.busIdLegacy, pci.domain, pci.bus, pci.device]))
"""


def test_pynvml_reads_serial_number_and_pci_address(fake_nvml: FakeNvml) -> None:
    gpu = FakeGpu(_GPU, serial="1654723000000", pci_bus_id="0001:9a:02.0")
    assert fake_nvml.run(_READ_BOARD, box=Box(gpus=(gpu,))) == [
        "1654723000000",
        "0001:9a:02.0",
        "0001:9A:02.0",
        1,
        0x9A,
        2,
    ]


def test_malformed_description_ends_the_process(fake_nvml: FakeNvml) -> None:
    """A mistake in a description must not pass for an answer of the driver."""
    with pytest.raises(AssertionError, match="fake NVML: a field is not a number of 32 bits"):
        fake_nvml.read_gpus(Box(gpus=(FakeGpu(_GPU),), count=-1))


@pytest.mark.parametrize(
    "text",
    ["gpu\n", "mig\tMIG-1\n", "card\tGPU-1\n", "error\tcuInit\n"],
    ids=["no field", "no GPU", "no word", "no code"],
)
def test_malformed_description_of_cuda_ends_the_process(text: str, fake_nvml: FakeNvml, tmp_path: Path) -> None:
    (tmp_path / "cuda.txt").write_text(text)
    code = "import sys, os, ctypes; os.environ['FAKE_CUDA'] = sys.argv[1]; ctypes.CDLL('libcuda.so.1').cuInit(0)"
    with pytest.raises(AssertionError, match="fake CUDA: "):
        fake_nvml.run(code, str(tmp_path / "cuda.txt"), box=Box(gpus=(FakeGpu(_GPU),)))


def test_installed_library_lies_where_drivers_are(fake_nvml: FakeNvml) -> None:
    """For one command alone: its libraries are on a file system that no other process sees."""
    prefix, variables = fake_nvml.installed(Box(gpus=(FakeGpu(_GPU),)))
    code = "from licensing.gpus import read_gpus; reading = read_gpus(); print(reading.library, len(reading.gpus))"
    command = [*prefix, sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    shown = subprocess.run(
        command, env={**os.environ, **variables}, cwd=root, capture_output=True, text=True, check=True
    )
    library = DriverLibrary(f"{DRIVER_FOLDER}/{LIBRARY_NAME}")
    assert shown.stdout == f"{library} 1\n"
    assert not Path(library.path).exists()


@pytest.mark.parametrize("uuid", ["GPU-1\tNVIDIA", "GPU-1\nerror", "GPU-1\0"])
def test_description_refuses_what_its_format_cannot_hold(uuid: str) -> None:
    with pytest.raises(ValueError, match="cannot hold a tab"):
        Box(gpus=(FakeGpu(uuid),)).encode()
