"""The check-up of the GPUs: hidden ones, half a driver, MIG, virtual ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from licensing.checkup_gpus import check_gpus
from licensing.cuda_devices import CudaReading
from licensing.driver_library import DriverLibrary
from licensing.findings import Finding
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware
from licensing.surroundings import System
from tests.fake_system import SystemBuilder
from tests.lock_scene import GPU, MACHINE, OTHER_GPU

MIG = Gpu("MIG-9c1a5b1e-2d34-5f67-8a90-b1c2d3e4f506", "NVIDIA H200 MIG 1g.18gb", 0, parent_uuid=GPU.uuid)


@pytest.fixture
def builder(tmp_path: Path) -> SystemBuilder:
    return SystemBuilder(tmp_path)


def box(*gpus: Gpu, cuda: CudaReading | None = None, **reading: object) -> Hardware:
    answers = None if cuda is None else lambda: cuda
    return Hardware(MACHINE, replace(GpuReading(gpus, "580.159.04"), **reading), None, answers)  # type: ignore[arg-type]


def found(system: System, hardware: Hardware, closed: tuple[str, ...] = ()) -> dict[str, Finding]:
    shut = [str(system.place(path)) for path in closed]
    findings = list(check_gpus(system, hardware, lambda path: path not in shut))
    for finding in findings:
        assert finding.subject == "gpus"
        assert (finding.level == "ok") == (finding.why == "")
        assert bool(finding.mend) == bool(finding.why)
    return {finding.code: finding for finding in findings}


NODES = {"/dev/nvidia0": "", "/dev/nvidiactl": "", "/dev/nvidia-uvm": "", "/dev/nvidia-caps/x": ""}


def test_a_gpu_that_all_agree_about(builder: SystemBuilder) -> None:
    findings = found(builder.build(NODES), box(GPU, cuda=CudaReading((GPU.uuid.partition("-")[2],))))
    assert list(findings) == ["gpus"]
    assert findings["gpus"].found == f"the driver 580.159.04 reports {GPU.label}"


def test_no_gpu(builder: SystemBuilder) -> None:
    assert [(code, each.level) for code, each in found(builder.build(), box()).items()] == [("gpu_none", "note")]


@pytest.mark.parametrize("files", [NODES, {"/proc/driver/nvidia/version": "NVRM version: x"}])
def test_half_a_driver(files: dict[str, str], builder: SystemBuilder) -> None:
    """The kernel has it and the libraries are missing, as in a container without the capability `utility`."""
    finding = found(builder.build(files), box())["driver_incomplete"]
    assert (finding.level, "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in finding.mend) == ("problem", True)


def test_a_gpu_that_cannot_be_read(builder: SystemBuilder) -> None:
    findings = found(builder.build(NODES), box(GPU, problems=("GPU 1 cannot be read: GPU is lost",)))
    assert (findings["gpu_unreadable"].level, findings["gpu_unreadable"].found) == (
        "problem",
        "GPU 1 cannot be read: GPU is lost",
    )
    assert "driver_incomplete" not in found(builder.build(NODES), box(problems=("the driver does not answer",)))


def test_device_files_that_this_user_may_not_open(builder: SystemBuilder) -> None:
    finding = found(builder.build(NODES), box(), closed=("/dev/nvidia0", "/dev/nvidiactl"))["gpu_forbidden"]
    assert (finding.level, finding.found) == ("problem", "this user may not use /dev/nvidia0, /dev/nvidiactl")


def test_fewer_gpus_than_device_files(builder: SystemBuilder) -> None:
    files = {**NODES, "/dev/nvidia1": ""}
    assert found(builder.build(files), box(GPU))["gpu_count"].level == "warning"
    assert "gpu_count" not in found(builder.build(files), box(GPU, MIG, OTHER_GPU))


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_cuda_is_shown_no_gpu(visible: str, builder: SystemBuilder) -> None:
    finding = found(builder.build(NODES, CUDA_VISIBLE_DEVICES=visible), box(GPU))["gpu_hidden"]
    assert (finding.level, repr(visible) in finding.found) == ("warning", True)


def test_gpus_by_number(builder: SystemBuilder) -> None:
    finding = found(builder.build(CUDA_VISIBLE_DEVICES="1,0"), box(GPU, OTHER_GPU))["gpu_by_index"]
    assert (finding.level, f"CUDA_VISIBLE_DEVICES={GPU.uuid}" in finding.mend) == ("note", True)
    for visible, gpus in {"0": (GPU,), GPU.uuid: (GPU, OTHER_GPU), f"{MIG.uuid},1": (GPU, OTHER_GPU)}.items():
        assert "gpu_by_index" not in found(builder.build(CUDA_VISIBLE_DEVICES=visible), box(*gpus))


def test_a_container_that_is_given_gpus_by_number_or_none(builder: SystemBuilder) -> None:
    def codes(system: System, *gpus: Gpu) -> set[str]:
        return set(found(system, box(*gpus))) - {"gpus", "gpu_none"}

    assert codes(builder.container(NVIDIA_VISIBLE_DEVICES="0"), GPU) == {"gpu_by_index"}
    assert codes(builder.container(NVIDIA_VISIBLE_DEVICES=GPU.uuid), GPU) == set()
    assert codes(builder.container(NVIDIA_VISIBLE_DEVICES="all"), GPU) == set()
    for none in ("none", "void", ""):
        assert codes(builder.container(NVIDIA_VISIBLE_DEVICES=none)) == {"gpu_hidden"}


def test_the_variable_of_a_container_means_nothing_outside_of_one(builder: SystemBuilder) -> None:
    for value in ("0", "none"):
        assert set(found(builder.build(NVIDIA_VISIBLE_DEVICES=value), box(GPU))) == {"gpus"}


def test_mig(builder: SystemBuilder) -> None:
    divided = replace(GPU, mig_enabled=True)
    finding = found(builder.build(), box(divided, MIG))["mig_instances"]
    assert (finding.level, "ask the vendor to license the whole GPU" in finding.mend) == ("note", True)
    assert found(builder.build(), box(divided))["mig_empty"].level == "problem"


def test_a_virtual_gpu(builder: SystemBuilder) -> None:
    assert found(builder.build(), box(replace(GPU, is_virtual=True)))["vgpu_refused"].level == "problem"
    named = replace(GPU, name="NVIDIA A40-48Q")
    assert found(builder.build(), box(named))["vgpu_refused"].level == "warning"


def test_what_the_drivers_parts_say(builder: SystemBuilder) -> None:
    """What unlocking would refuse is a problem: `licensing.gpu_checks` says what that is."""
    stranger = CudaReading((OTHER_GPU.uuid.partition("-")[2],))
    assert found(builder.build(), box(GPU, cuda=stranger))["gpu_disagreement"].level == "problem"
    silent = CudaReading(problem="the CUDA driver does not answer: error 999")
    assert found(builder.build(), box(GPU, cuda=silent))["gpu_unreadable"].level == "problem"
    doubtful = DriverLibrary("/tmp/libnvidia-ml.so.1", "it lies where users keep files", is_known=False)
    assert found(builder.build(), box(GPU, library=doubtful))["driver_untrusted"].level == "problem"
    odd = DriverLibrary("/srv/libnvidia-ml.so.1", None, is_known=False)
    assert found(builder.build(), box(GPU, library=odd))["driver_untrusted"].level == "warning"
