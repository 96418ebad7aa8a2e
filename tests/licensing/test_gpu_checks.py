"""The GPU that computes, and whether NVML, CUDA and the kernel agree about it: what unlocking refuses, and what not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from licensing.cuda_devices import CudaReading, read_cuda
from licensing.driver_library import DriverLibrary
from licensing.errors import LicensingError, VirtualGpuError
from licensing.gpu_checks import GpuFinding, gpu_findings
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware, read_hardware
from licensing.kernel_gpus import KernelGpus
from licensing.key_derivation import slot_digest
from licensing.license import License, LicenseFile, Slot, read_claims
from licensing.policy import Policy
from licensing.unlock import step_7_find_slot
from tests.lock_scene import GPU, MACHINE, OTHER_GPU, Scene

PARENT = Gpu("GPU-33333333-6aef-4c1b-9f00-0123456789ab", "NVIDIA H200", 2, mig_enabled=True)
ONE, TWO = (
    Gpu(f"MIG-{number:08x}-52dd-5e8f-8a10-ba9876543210", "NVIDIA H200 MIG 1g.18gb", 2, parent_uuid=PARENT.uuid)
    for number in (1, 2)
)
GOOD = DriverLibrary("/usr/lib/x86_64-linux-gnu/libcuda.so.580.159.04")
FALSE = DriverLibrary("/tmp/libcuda.so.1", "it lies where users and programs keep files of their own", False)


def bare(*gpus: Gpu) -> tuple[str, ...]:
    return tuple(gpu.uuid.partition("-")[2] for gpu in gpus)


def asked() -> CudaReading:
    raise AssertionError("CUDA was asked")


def box(
    scene: Scene, *gpus: Gpu, cuda: CudaReading | Callable[[], CudaReading] | None = None, **changes: Any
) -> Hardware:
    """Returns the licensed machine with these GPUs; CUDA numbers them as they come, unless a test says otherwise."""
    reading = GpuReading(gpus, "580", library=replace(GOOD, path="/usr/lib/libnvidia-ml.so.1"))
    computing = CudaReading(bare(*gpus), GOOD) if cuda is None else cuda
    probe = computing if callable(computing) else lambda: computing
    return replace(scene.box.hardware, gpus=reading, cuda=probe, **changes)


@pytest.fixture
def license(lock_scene: Scene, tmp_path: Path) -> Path:
    """Returns a license for GPU."""
    return issued(lock_scene, tmp_path, GPU)


def issued(scene: Scene, folder: Path, *gpus: Gpu, **terms: Any) -> Path:
    path = folder / "acme.lic"
    path.write_bytes(scene.issue(gpus=gpus, **terms))
    return path


def refused(scene: Scene, license: Path, hardware: Hardware, device: str | None = "cuda:0") -> LicensingError:
    with pytest.raises(LicensingError) as refusal:
        scene.unlock(license, hardware=hardware, device=device)
    return refusal.value


# The GPU that computes.


def test_device_that_is_the_licensed_gpu(license: Path, lock_scene: Scene) -> None:
    hardware = box(lock_scene, OTHER_GPU, GPU)
    unlocked = lock_scene.unlock(license, hardware=hardware, device="cuda:1")
    assert (unlocked.content_key, unlocked.matched.gpu) == (lock_scene.model.content_key, GPU)


@pytest.mark.parametrize("device", ["cuda:0", "cuda"])
def test_device_beside_the_licensed_gpu(device: str, license: Path, lock_scene: Scene) -> None:
    error = refused(lock_scene, license, box(lock_scene, OTHER_GPU, GPU), device)
    assert error.reason == "gpu_mismatch"
    assert error.message == f"the device {device!r} is {OTHER_GPU.label}, and the license is for another GPU"
    assert error.hints == (f"the license is for {GPU.label}", f"{GPU.label} is 'cuda:1' here")


def test_order_of_cuda_decides_and_not_that_of_nvml(license: Path, lock_scene: Scene) -> None:
    hardware = box(lock_scene, GPU, OTHER_GPU, cuda=CudaReading(bare(OTHER_GPU, GPU), GOOD))
    assert refused(lock_scene, license, hardware, "cuda:0").reason == "gpu_mismatch"
    assert lock_scene.unlock(license, hardware=hardware, device="cuda:1").matched.gpu == GPU


def test_licensed_gpu_that_cuda_does_not_show(
    license: Path, lock_scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    hardware = box(lock_scene, GPU, OTHER_GPU, cuda=CudaReading(bare(OTHER_GPU), GOOD))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    hints = refused(lock_scene, license, hardware).hints
    assert hints[1:] == (
        f"{GPU.label} is in this machine, and CUDA does not show it to this process",
        f"set CUDA_VISIBLE_DEVICES={GPU.uuid}",
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert refused(lock_scene, license, hardware).hints[2] == "CUDA_VISIBLE_DEVICES is '1'"


def test_license_for_several_gpus_takes_the_grant_of_the_one_that_computes(lock_scene: Scene, tmp_path: Path) -> None:
    path = issued(lock_scene, tmp_path, GPU, OTHER_GPU)
    for number, gpu in enumerate((GPU, OTHER_GPU)):
        unlocked = lock_scene.unlock(path, hardware=box(lock_scene, GPU, OTHER_GPU), device=f"cuda:{number}")
        assert (unlocked.matched.gpu, unlocked.matched.slot.slot_id) == (gpu, f"slot-{number + 1}")
        assert unlocked.content_key == lock_scene.model.content_key


@pytest.mark.parametrize("device", [None, "cpu", "mps"])
def test_other_devices_ask_cuda_for_nothing(device: str | None, license: Path, lock_scene: Scene) -> None:
    hardware = box(lock_scene, OTHER_GPU, GPU, cuda=asked)
    assert lock_scene.unlock(license, hardware=hardware, device=device).matched.gpu == GPU


def test_machine_alone_accepts_every_device_and_asks_for_none(lock_scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "acme.lic"
    path.write_bytes(lock_scene.issue(box=lock_scene.box.with_gpus(), allow_no_gpu=True))
    hardware = box(lock_scene, OTHER_GPU, cuda=asked)
    for device in ("cuda:0", "cuda:99", "cpu"):
        assert lock_scene.unlock(path, hardware=hardware, device=device).matched.gpu is None


def test_device_that_is_none(license: Path, lock_scene: Scene) -> None:
    error = refused(lock_scene, license, box(lock_scene, GPU), "cuda:x")
    assert (error.reason, error.message) == ("usage", "there is no device 'cuda:x'")
    error = refused(lock_scene, license, box(lock_scene, GPU), "cuda:1")
    assert (error.reason, error.hints[0]) == ("usage", "CUDA finds 1 here")


def test_hardware_by_hand_without_cuda_tells_nothing_about_devices(license: Path, lock_scene: Scene) -> None:
    hardware = replace(box(lock_scene, OTHER_GPU, GPU), cuda=None)
    assert lock_scene.unlock(license, hardware=hardware, device="cuda:0").matched.gpu == GPU


def test_measured_hardware_has_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, every check could be there and none be made."""
    kernel = KernelGpus(frozenset({GPU.uuid}), True)
    monkeypatch.setattr("licensing.hardware.read_machine", lambda: MACHINE)
    monkeypatch.setattr("licensing.hardware.read_gpus", lambda: GpuReading((GPU,)))
    monkeypatch.setattr("licensing.hardware.read_kernel_gpus", lambda: kernel)
    hardware = read_hardware()
    assert (hardware.machine, hardware.gpus.gpus, hardware.kernel) == (MACHINE, (GPU,), kernel)
    assert hardware.cuda is read_cuda


# A license with slots for a GPU and for the machine alone, as no vendor's tool makes it.


def mixed(scene: Scene, *gpus: Gpu | None) -> License:
    """Returns claims with a slot for each of these GPUs in the licensed machine, and for None one without a GPU."""
    claims = read_claims(LicenseFile.parse(scene.issue()))

    def slot(number: int, gpu: Gpu | None) -> Slot:
        if gpu is None:
            return replace(claims.slots[0], slot_id=f"slot-{number}", gpu_digest=None, gpu_label=None)
        digest = slot_digest(claims.salt, "gpu", gpu.identity)
        return replace(claims.slots[0], slot_id=f"slot-{number}", gpu_digest=digest, gpu_label=gpu.label)

    return replace(claims, slots=tuple(slot(number, gpu) for number, gpu in enumerate(gpus, start=1)))


@pytest.mark.parametrize(
    ("gpus", "device", "expected"),
    [
        ((GPU, None), "cuda:0", "slot-1"),
        ((GPU, None), "cuda:1", "slot-2"),
        ((GPU, None), "cuda:9", "slot-2"),
        ((OTHER_GPU, None), None, "slot-1"),
        ((PARENT, None, GPU), "cuda:0", "slot-2"),  # The order of the license decides.
        ((None, GPU), "cuda:0", "slot-1"),
    ],
)
def test_slot_without_a_gpu_accepts_what_those_before_it_do_not(
    gpus: tuple[Gpu | None, ...], device: str | None, expected: str, lock_scene: Scene
) -> None:
    matched = step_7_find_slot(mixed(lock_scene, *gpus), box(lock_scene, GPU, OTHER_GPU), device)
    assert matched.slot.slot_id == expected
    assert (matched.gpu is None) == (matched.slot.gpu_digest is None)


def test_slot_without_a_gpu_needs_no_driver_that_is_believed(lock_scene: Scene) -> None:
    hardware = box(lock_scene, GPU)
    false = replace(hardware, gpus=replace(hardware.gpus, library=FALSE))
    assert step_7_find_slot(mixed(lock_scene, GPU, None), false).slot.slot_id == "slot-2"


# MIG instances.


def test_instance_that_computes(lock_scene: Scene, tmp_path: Path) -> None:
    path = issued(lock_scene, tmp_path, TWO)
    for instance, reason in ((TWO, None), (ONE, "gpu_mismatch")):
        hardware = box(lock_scene, PARENT, ONE, TWO, cuda=CudaReading(bare(instance), GOOD))
        if reason is None:
            assert lock_scene.unlock(path, hardware=hardware, device="cuda:0").matched.gpu == TWO
        else:
            error = refused(lock_scene, path, hardware)
            assert (error.reason, ONE.label in error.message) == (reason, True)


def test_license_for_a_gpu_holds_with_each_of_its_instances(lock_scene: Scene, tmp_path: Path) -> None:
    path = issued(lock_scene, tmp_path, PARENT)
    for instance in (ONE, TWO):
        hardware = box(lock_scene, GPU, PARENT, ONE, TWO, cuda=CudaReading(bare(GPU, instance), GOOD))
        assert lock_scene.unlock(path, hardware=hardware, device="cuda:1").matched.gpu == PARENT
        assert refused(lock_scene, path, hardware, "cuda:0").reason == "gpu_mismatch"


def test_driver_that_does_not_tell_instances(lock_scene: Scene, tmp_path: Path) -> None:
    """Before R470 CUDA says the GPU's UUID for its instances: any of them may be computing, and no other GPU's."""
    cuda = CudaReading(bare(PARENT), GOOD, names_instances=False)
    hardware = box(lock_scene, GPU, PARENT, ONE, TWO, cuda=cuda)
    assert lock_scene.unlock(issued(lock_scene, tmp_path, TWO), hardware=hardware, device="cuda:0").matched.gpu == TWO
    assert refused(lock_scene, issued(lock_scene, tmp_path, GPU), hardware).reason == "gpu_mismatch"
    assert PARENT.label in refused(lock_scene, issued(lock_scene, tmp_path, GPU), hardware).message
    told = replace(hardware, cuda=lambda: replace(cuda, names_instances=True))
    assert refused(lock_scene, issued(lock_scene, tmp_path, TWO), told).reason == "gpu_mismatch"


# The parts of the driver.


def test_cuda_computes_on_a_gpu_that_nvml_does_not_know(license: Path, lock_scene: Scene) -> None:
    """As with an NVML that pretends the licensed GPU: CUDA names the one that is there."""
    hardware = box(lock_scene, GPU, cuda=CudaReading(bare(OTHER_GPU), GOOD))
    error = refused(lock_scene, license, hardware)
    assert error.reason == "gpu_disagreement"
    assert error.message == "CUDA computes on a GPU that NVML does not know: 'cuda:0' is GPU-7d1e93b4…"


def test_gpu_that_nvml_could_not_read_is_no_disagreement(license: Path, lock_scene: Scene) -> None:
    hardware = box(lock_scene, GPU, cuda=CudaReading(bare(OTHER_GPU), GOOD))
    problem = "GPU 1 cannot be read: GPU is lost"
    error = refused(lock_scene, license, replace(hardware, gpus=replace(hardware.gpus, problems=(problem,))))
    assert (error.reason, problem in error.message) == ("gpu_unreadable", True)


def test_container_with_cuda_and_without_nvml(license: Path, lock_scene: Scene) -> None:
    hardware = replace(lock_scene.box.hardware, gpus=GpuReading(), cuda=lambda: CudaReading(bare(GPU), GOOD))
    error = refused(lock_scene, license, hardware)
    assert (error.reason, "NVIDIA_DRIVER_CAPABILITIES" in error.hints[0]) == ("gpu_unreadable", True)
    error = refused(lock_scene, license, hardware, "cpu")
    assert (error.reason, "NVIDIA_DRIVER_CAPABILITIES" in error.hints[-1]) == ("gpu_mismatch", True)


def test_cuda_that_does_not_answer(license: Path, lock_scene: Scene) -> None:
    problem = "the CUDA driver does not answer: CUDA_ERROR_UNKNOWN"
    error = refused(lock_scene, license, box(lock_scene, GPU, cuda=CudaReading(problem=problem)))
    assert (error.reason, error.message) == ("gpu_unreadable", f"it cannot be told which GPU 'cuda:0' is: {problem}")


@pytest.mark.parametrize("device", [None, "cpu", "cuda:0"])
def test_false_nvml(device: str | None, license: Path, lock_scene: Scene) -> None:
    hardware = box(lock_scene, GPU)
    error = refused(lock_scene, license, replace(hardware, gpus=replace(hardware.gpus, library=FALSE)), device)
    assert error.reason == "driver_untrusted"
    assert error.message == f"libnvidia-ml.so.1 was loaded from '/tmp/libcuda.so.1', and {FALSE.doubt}"
    assert error.hints[0].startswith("unset LD_LIBRARY_PATH")


def test_false_cuda(license: Path, lock_scene: Scene) -> None:
    hardware = box(lock_scene, GPU, cuda=CudaReading(bare(GPU), FALSE))
    assert refused(lock_scene, license, hardware).reason == "driver_untrusted"
    assert lock_scene.unlock(license, hardware=hardware, device="cpu").matched.gpu == GPU


def test_odd_library_is_no_refusal(license: Path, lock_scene: Scene) -> None:
    odd = DriverLibrary("/opt/driver/libcuda.so.1", None, is_known=False)
    hardware = box(lock_scene, GPU, cuda=CudaReading(bare(GPU), odd))
    assert lock_scene.unlock(license, hardware=hardware, device="cuda:0").matched.gpu == GPU


def test_machine_alone_needs_no_driver(lock_scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "acme.lic"
    path.write_bytes(lock_scene.issue(box=lock_scene.box.with_gpus(), allow_no_gpu=True))
    hardware = box(lock_scene, OTHER_GPU)
    false = replace(hardware, gpus=replace(hardware.gpus, library=FALSE))
    assert lock_scene.unlock(path, hardware=false).matched.gpu is None


@pytest.mark.parametrize("listed", [OTHER_GPU.uuid, GPU.uuid])
@pytest.mark.parametrize("is_complete", [True, False])
def test_list_of_the_kernel(listed: str, is_complete: bool, license: Path, lock_scene: Scene) -> None:
    """It refuses only where it names every GPU: containers show a part of it."""
    hardware = box(lock_scene, GPU, kernel=KernelGpus(frozenset({listed}), is_complete))
    if listed == OTHER_GPU.uuid and is_complete:
        error = refused(lock_scene, license, hardware, None)
        assert error.reason == "gpu_disagreement"
        assert error.message == f"NVML reports a GPU that the kernel's driver does not have: {GPU.label}"
        assert error.hints[0] == "/proc/driver/nvidia/gpus lists GPU-7d1e93b4…"
        assert error.hints[1].endswith("install the NVIDIA driver again and restart")
    else:
        assert lock_scene.unlock(license, hardware=hardware).matched.gpu == GPU


def test_list_of_the_kernel_names_no_instances(lock_scene: Scene, tmp_path: Path) -> None:
    hardware = box(lock_scene, PARENT, ONE, kernel=KernelGpus(frozenset({PARENT.uuid}), True))
    assert lock_scene.unlock(issued(lock_scene, tmp_path, ONE), hardware=hardware).matched.gpu == ONE


# Virtual GPUs.


def test_virtual_gpu(lock_scene: Scene, tmp_path: Path) -> None:
    virtual = replace(GPU, is_virtual=True, name="NVIDIA A40-48Q")
    hardware = box(lock_scene, virtual, kernel=KernelGpus(frozenset({OTHER_GPU.uuid}), True))
    error = refused(lock_scene, issued(lock_scene, tmp_path, GPU), hardware)
    assert (error.reason, error.message) == (
        "vgpu_refused",
        "NVIDIA A40-48Q (GPU-0f5a7c52…) is a virtual GPU, whose UUID its host chooses",
    )
    allowed = issued(lock_scene, tmp_path, virtual, policy=Policy(vgpu=True))
    assert lock_scene.unlock(allowed, hardware=hardware).content_key == lock_scene.model.content_key


def test_instance_of_a_virtual_gpu(lock_scene: Scene, tmp_path: Path) -> None:
    hardware = box(lock_scene, replace(PARENT, is_virtual=True), replace(ONE, is_virtual=True))
    assert refused(lock_scene, issued(lock_scene, tmp_path, ONE), hardware, None).reason == "vgpu_refused"


def test_request_for_a_virtual_gpu(lock_scene: Scene) -> None:
    """The vendor is told, and does not issue what would be refused."""
    with pytest.raises(VirtualGpuError) as refusal:
        lock_scene.issue(gpus=(OTHER_GPU, replace(GPU, is_virtual=True)))
    assert refusal.value.message == f"the license request names a virtual GPU: {GPU.label}"
    assert "--allow-vgpu" in refusal.value.hints[0]


# What doctor hears of it.


def findings(hardware: Hardware) -> list[tuple[str, bool]]:
    found = gpu_findings(hardware)
    assert all(isinstance(each, GpuFinding) and each.sentence and each.mend for each in found)
    return [(each.reason, each.refuses) for each in found]


def test_nothing_to_find(lock_scene: Scene) -> None:
    assert findings(box(lock_scene, GPU, PARENT, ONE, cuda=CudaReading(bare(GPU, ONE), GOOD))) == []
    assert findings(box(lock_scene, cuda=asked)) == []
    assert findings(replace(box(lock_scene, GPU), cuda=None)) == []


def test_findings(lock_scene: Scene) -> None:
    hardware = box(lock_scene, GPU)
    odd = DriverLibrary("/opt/driver/libcuda.so.1", None, is_known=False)
    uuids = bare(GPU)
    cases = {
        ("driver_untrusted", True): replace(hardware, cuda=lambda: CudaReading(uuids, FALSE)),
        ("driver_untrusted", False): replace(hardware, cuda=lambda: CudaReading(uuids, odd)),
        ("gpu_unreadable", True): replace(hardware, cuda=lambda: CudaReading(problem="no answer")),
        ("gpu_disagreement", True): replace(hardware, cuda=lambda: CudaReading(bare(OTHER_GPU), GOOD)),
        ("vgpu_refused", True): box(lock_scene, replace(GPU, is_virtual=True)),
        ("vgpu_refused", False): box(lock_scene, replace(GPU, name="GRID A100-10C")),
    }
    assert {expected: findings(case) for expected, case in cases.items()} == {each: [each] for each in cases}
    kernel = KernelGpus(frozenset({OTHER_GPU.uuid}), True)
    assert findings(box(lock_scene, GPU, kernel=kernel)) == [("gpu_disagreement", True)]


@pytest.mark.parametrize("name", ["NVIDIA A100-SXM4-40GB", "NVIDIA H100 80GB HBM3", "NVIDIA A10G", "Tesla P40", "L4"])
def test_names_of_real_gpus(name: str, lock_scene: Scene) -> None:
    assert findings(box(lock_scene, replace(GPU, name=name))) == []
