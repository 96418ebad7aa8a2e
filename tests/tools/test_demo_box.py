"""The demo says what its box has, and what it stands in for."""

from pathlib import Path

import pytest

from licensing.device_key import create_device_key
from licensing.errors import MachineIdUnavailableError
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware
from licensing.machine import Machine
from tests.tools.quiet_page import quiet_page
from tools import demo_box
from tools.demo_box import Box, describe_box, measure_box


def test_box_without_machine_id_gets_a_stand_in_and_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unavailable() -> Hardware:
        raise MachineIdUnavailableError("this system has no machine ID", "mount the host's /etc/machine-id read-only")

    monkeypatch.setattr(demo_box, "read_hardware", unavailable)
    page, text = quiet_page()
    box = measure_box(tmp_path)
    describe_box(page, box)
    assert "this system has no machine ID" in text.getvalue()
    assert "hint: mount the host's /etc/machine-id read-only" in text.getvalue()
    assert "a stand-in for the machine ID" in text.getvalue()
    assert create_device_key(box.home, box.hardware.machine).tier == "software"


@pytest.mark.parametrize(
    ("indexes", "options"), [((), ["--gpu none"]), ((1, 0), ["--gpu 0", "--gpu 1"])], ids=["none", "two"]
)
def test_unreadable_gpu_is_told_and_left_out_of_the_request(indexes: tuple[int, ...], options: list[str]) -> None:
    gpus = tuple(Gpu(f"GPU-00000000-0000-4000-8000-00000000000{index}", "NVIDIA H200", index) for index in indexes)
    reading = GpuReading(gpus, "580.159.04", ("GPU 2 cannot be read: GPU is lost",))
    box = Box(Path("box"), Hardware(Machine("4f3d1b6a140b35aa3de1645a70a5baf7", "a test"), reading))
    page, text = quiet_page()
    describe_box(page, box)
    assert "GPU 2 cannot be read: GPU is lost" in text.getvalue()
    assert box.gpu_options == options
