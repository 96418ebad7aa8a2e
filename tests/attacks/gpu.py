"""The GPU: false libraries, other GPUs, virtual ones. The library is the stand-in of tests/fake_nvml: test and attack.

What these yield is the use of the model on this machine with another GPU than the licensed one. To use it on another
machine takes the device key as well, and that is another attack.
"""

import subprocess
from dataclasses import replace
from pathlib import Path

import tests.fake_nvml
from licensing.cuda_devices import CudaReading
from licensing.gpus import GpuReading
from licensing.hardware import Hardware
from licensing.kernel_gpus import KernelGpus
from tests.attacks.attack import Outcome, Power, StoppedBy, attack, require
from tests.attacks.boxes import GPU, OTHER_GPU
from tests.attacks.scene import AttackScene
from tests.command_line import as_process
from tests.fake_nvml import LIBRARY_NAME, Box, FakeGpu, FakeNvml, compile_library

__all__: list[str] = []

LICENSED_GPU_ON_PAPER = Box(gpus=(FakeGpu(GPU.uuid, GPU.name),))


def _fake(scene: AttackScene) -> FakeNvml:
    require("cc")
    library = scene.folder / "nvml"
    if not library.exists():
        library.mkdir()
        compile_library(library)
    return FakeNvml(library, scene.new_folder("boxes"))


def _refusal(scene: AttackScene, variables: dict[str, str], prefix: list[str]) -> str | None:
    """Returns why a process that sees the false library refuses a license for the GPU that it reports."""
    license = scene.folder / "gpu.lic"
    license.write_bytes(scene.license)
    arguments = ("status", license, "--home", scene.box.home, "--json")
    outcome = as_process(*arguments, variables=variables, prefix=prefix)
    assert outcome.code in (0, 3), outcome
    return None if outcome.code == 0 else str(outcome.facts["reason"])


@attack(
    "gpu",
    Power.SAME_USER,
    "report the licensed GPU by a false NVML library that `LD_LIBRARY_PATH` names",
    both=StoppedBy.CHECK,
)
def spoof_nvml_by_ld_library_path(scene: AttackScene) -> Outcome:
    reason = _refusal(scene, _fake(scene)(LICENSED_GPU_ON_PAPER), [])
    return scene.locked_out(reason, scene.everything(), "with a false library", elsewhere=False)


@attack(
    "gpu",
    Power.SAME_USER,
    "report the licensed GPU by a false NVML library that `LD_PRELOAD` names",
    both=StoppedBy.CHECK,
)
def spoof_nvml_by_ld_preload(scene: AttackScene) -> Outcome:
    variables = _fake(scene)(LICENSED_GPU_ON_PAPER)
    library, source = scene.folder / "innocent.so", Path(tests.fake_nvml.__file__).with_name("nvml.c")
    command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY_NAME}", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    preloaded = {"LD_PRELOAD": str(library), "FAKE_NVML": variables["FAKE_NVML"]}
    reason = _refusal(scene, preloaded, [])
    return scene.locked_out(reason, scene.everything(), "with a false library", elsewhere=False)


@attack(
    "gpu",
    Power.SAME_USER,
    "report the licensed GPU by a false NVML library, mounted where the driver's is, in a namespace of one's own",
    both=StoppedBy.NOTHING,
)
def spoof_nvml_by_a_mount(scene: AttackScene) -> Outcome:
    require("unshare")
    prefix, variables = _fake(scene).installed(LICENSED_GPU_ON_PAPER)
    reason = _refusal(scene, variables, prefix)
    return scene.locked_out(reason, scene.everything(), "with a false library in the driver's place", elsewhere=False)


@attack(
    "gpu",
    Power.SAME_USER,
    "report the licensed GPU by a false NVML library where the kernel's own list of GPUs can be seen",
    both=StoppedBy.CHECK,
)
def contradict_the_kernel(scene: AttackScene) -> Outcome:
    hardware = scene.box.hardware
    assert scene.refusal(scene.license, box=replace(scene.box, hardware=_listed(hardware, GPU.uuid))) is None
    reason = scene.refusal(scene.license, box=replace(scene.box, hardware=_listed(hardware, OTHER_GPU.uuid)))
    return scene.locked_out(reason, scene.everything(), "with another GPU in the kernel's list", elsewhere=False)


def _listed(hardware: Hardware, uuid: str) -> Hardware:
    return replace(hardware, kernel=KernelGpus(frozenset({uuid}), is_complete=True))


@attack(
    "gpu",
    Power.SAME_USER,
    "swap the GPU, and run a program without checks that measures what is there",
    both=StoppedBy.CRYPTOGRAPHY,
)
def swap_the_gpu(scene: AttackScene) -> Outcome:
    reason = scene.refusal(scene.license, box=scene.box.with_gpus(OTHER_GPU))
    return scene.locked_out(reason, scene.everything(gpus=(OTHER_GPU.identity,)), "with another GPU")


@attack(
    "gpu",
    Power.SAME_USER,
    "swap the GPU, and run a program that pretends the licensed one's UUID instead of measuring",
    both=StoppedBy.NOTHING,
)
def swap_the_gpu_and_pretend_the_licensed_one(scene: AttackScene) -> Outcome:
    reason = scene.refusal(scene.license, box=scene.box.with_gpus(replace(OTHER_GPU, uuid=GPU.uuid)))
    return scene.locked_out(reason, scene.everything(), "with another GPU under the licensed UUID", elsewhere=False)


@attack(
    "gpu",
    Power.SAME_USER,
    "compute on an unlicensed GPU of the box, as `cuda:0`, by the order in `CUDA_VISIBLE_DEVICES`",
    both=StoppedBy.CHECK,
)
def compute_on_an_unlicensed_gpu(scene: AttackScene) -> Outcome:
    order = tuple(gpu.uuid.partition("-")[2] for gpu in (OTHER_GPU, GPU))
    gpus = GpuReading((GPU, replace(OTHER_GPU, index=1)))
    hardware = Hardware(scene.box.hardware.machine, gpus, cuda=lambda: CudaReading(order))
    box = replace(scene.box, hardware=hardware)
    assert scene.refusal(scene.license, box=box, device="cuda:1") is None, "the licensed GPU computes"
    reason = scene.refusal(scene.license, box=box, device="cuda:0")
    return scene.locked_out(reason, scene.everything(), "on the other GPU", elsewhere=False)


@attack(
    "gpu",
    Power.ROOT,
    "give a virtual GPU the licensed UUID, as the host of a virtual machine can",
    both=StoppedBy.CHECK,
)
def virtual_gpu_with_the_licensed_uuid(scene: AttackScene) -> Outcome:
    reason = scene.refusal(scene.license, box=scene.box.with_gpus(replace(GPU, is_virtual=True)))
    return scene.locked_out(reason, scene.everything(), "on the virtual GPU", elsewhere=False)
