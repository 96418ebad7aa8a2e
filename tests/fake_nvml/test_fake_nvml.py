"""The fake answers pynvml as described, also where licensing does not ask yet, and mistakes in a test are loud."""

import pytest

from tests.fake_nvml import Box, FakeGpu, FakeNvml

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


@pytest.mark.parametrize("uuid", ["GPU-1\tNVIDIA", "GPU-1\nerror", "GPU-1\0"])
def test_description_refuses_what_its_format_cannot_hold(uuid: str) -> None:
    with pytest.raises(ValueError, match="cannot hold a tab"):
        Box(gpus=(FakeGpu(uuid),)).encode()
