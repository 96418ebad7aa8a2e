"""Licenses bound to a real GPU, as the real driver reports it."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cryptors import load_model, read_header
from licensing.errors import WeightlockError
from licensing.gpu_checks import gpu_findings
from licensing.gpus import GPU_UUID_PATTERN, GpuReading, read_gpus
from licensing.hardware import Hardware, read_hardware
from licensing.unlock import unlock
from tests.gpu.box import GpuBox
from tests.story import write_onnx

pytestmark = pytest.mark.gpu


def test_driver_reports_the_gpus(box: GpuBox) -> None:
    reading = read_gpus()
    assert reading.problems == ()
    assert reading.driver_version
    assert reading.gpus
    assert all(re.fullmatch(GPU_UUID_PATTERN, gpu.uuid) for gpu in reading.gpus if gpu.parent_uuid is None)
    assert read_gpus() == reading


def test_nvidia_smi_lists_the_same(box: GpuBox) -> None:
    if shutil.which("nvidia-smi") is None:
        pytest.skip("needs nvidia-smi")
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=True, text=True).stdout
    assert re.findall(r"UUID: (\S+)\)", listed) == [gpu.uuid for gpu in read_gpus().gpus]


def test_parts_of_the_driver_agree(box: GpuBox) -> None:
    """NVML, CUDA and the kernel: whatever is found here would lock out customers by mistake."""
    hardware = read_hardware()
    assert hardware.cuda is not None
    assert hardware.cuda().problem is None
    assert gpu_findings(hardware) == []


def test_model_for_the_licensed_device(box: GpuBox, tmp_path: Path) -> None:
    """The framework need not have CUDA: unlocking comes first, and knows the GPU by then."""
    write_onnx(tmp_path / "net.onnx")
    locked, license = box.lock(tmp_path / "net.onnx")
    header = read_header(locked)
    unlocked = unlock(license, header.model_id, header.key_id, home=box.home, device="cuda:0")
    assert unlocked.matched.gpu is not None


def test_license_of_this_gpu_and_of_another(box: GpuBox, tmp_path: Path) -> None:
    """The same license, box and model: with one digit of the UUID changed, there is no key."""
    write_onnx(tmp_path / "net.onnx")
    locked, license = box.lock(tmp_path / "net.onnx")
    assert load_model(locked, **box.unlocking(license)).get_inputs()
    others = tuple(
        dataclasses.replace(gpu, uuid=gpu.uuid[:-1] + ("0" if gpu.uuid[-1] != "0" else "1"))
        for gpu in box.hardware.gpus.gpus
    )
    for gpus in (others, ()):
        hardware = Hardware(box.hardware.machine, GpuReading(gpus))
        with pytest.raises(WeightlockError) as refusal:
            load_model(locked, **box.unlocking(license), hardware=hardware)
        assert refusal.value.reason == "gpu_mismatch"
