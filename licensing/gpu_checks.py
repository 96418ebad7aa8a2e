"""Which GPUs may fill a slot: those that compute, as far as the driver's parts agree about them.

docs/spec/license.md, section 7.3. What refuses here explains, as all checks do; that the key is derived from the GPU
that computes is what binds. What is only odd is no refusal: `weightlock doctor` tells it.
"""

import os
import re
from dataclasses import dataclass

from licensing.cuda_devices import CudaReading, cuda_index
from licensing.driver_library import DriverLibrary
from licensing.errors import (
    DriverUntrustedError,
    GpuDisagreementError,
    GpuMismatchError,
    GpuUnreadableError,
    UsageError,
    VirtualGpuError,
)
from licensing.gpus import Gpu
from licensing.hardware import Hardware
from licensing.policy import Policy

__all__ = ["EligibleGpus", "GpuFinding", "check_gpu", "eligible_gpus", "gpu_findings", "not_licensed"]

_NVML, _CUDA = "libnvidia-ml.so.1", "libcuda.so.1"
_NEW_GPU = "after replacing a GPU, make a new request and send it to the vendor"
_NO_NVML = "'nvidia-smi -L' must list the GPU; in a container, NVIDIA_DRIVER_CAPABILITIES must name utility, too"
_VIRTUAL_NAME = r".*-[0-9]{1,3}(-[0-9]{1,3})?[ABCQ]"
"""How NVIDIA names the kinds of its virtual GPUs: "GRID A100-10C", "NVIDIA A40-48Q"."""


@dataclass(frozen=True)
class EligibleGpus:
    """The GPUs of a box that may fill a slot.

    Attributes:
        gpus: all of the box; or the one that computes, after the GPU that it is a MIG instance of, and after the MIG
            instances of which each may be meant.
        device: the device that was asked for; None where none of CUDA's was.
        cuda: CUDA's devices, where it was asked.
    """

    gpus: tuple[Gpu, ...]
    device: str | None = None
    cuda: CudaReading | None = None


@dataclass(frozen=True)
class GpuFinding:
    """Something about the GPUs of this box that may stop a license later, or weakens it.

    Attributes:
        reason: the reason code of the refusal that it would be, or is near to.
        refuses: whether unlocking refuses for it.
        sentence: what was found.
        mend: what to do.
    """

    reason: str
    refuses: bool
    sentence: str
    mend: str


def eligible_gpus(hardware: Hardware, device: str | None) -> EligibleGpus:
    """Returns the GPUs that may fill a slot where a model is to compute on a device.

    Args:
        hardware: the box as measured.
        device: "cuda:N"; with "cpu", another name or none, every GPU of the box may.

    Raises:
        DriverUntrustedError: a library of the driver was loaded from where no driver is.
        GpuUnreadableError: CUDA does not answer, or NVML did not read the GPU that it names, or is not there.
        GpuDisagreementError: CUDA computes on a GPU that NVML does not know.
        UsageError: CUDA has no such device.
    """
    _check_library(hardware.gpus.library, _NVML)
    index = None if device is None else cuda_index(device)
    if device is None or index is None or hardware.cuda is None:
        return EligibleGpus(hardware.gpus.gpus)
    cuda = hardware.cuda()
    _check_library(cuda.library, _CUDA)
    if cuda.problem is not None:
        raise GpuUnreadableError(
            f"it cannot be told which GPU {device!r} is: {cuda.problem}",
            "the license is for a GPU, so that the one that computes must be known",
            "check that a program of CUDA's runs here, such as 'nvidia-smi' and then the framework's own test",
        )
    if index >= len(cuda.uuids):
        raise UsageError(f"there is no device {device!r}", f"CUDA finds {len(cuda.uuids)} here", *_visible_hint())
    return EligibleGpus(_computing(hardware, cuda, device, cuda.uuids[index]), device, cuda)


def _computing(hardware: Hardware, cuda: CudaReading, device: str, uuid: str) -> tuple[Gpu, ...]:
    gpus = hardware.gpus.gpus
    gpu = next((each for each in gpus if each.uuid.partition("-")[2] == uuid), None)
    if gpu is None:
        if not gpus and not hardware.gpus.problems:
            raise GpuUnreadableError(f"CUDA finds the GPU of {device!r}, and NVML is not there to name it", _NO_NVML)
        if hardware.gpus.problems:
            raise GpuUnreadableError(
                f"it cannot be told which GPU {device!r} is: {hardware.gpus.problems[0]}",
                "check that 'nvidia-smi -L' lists the GPU",
            )
        raise GpuDisagreementError(
            f"CUDA computes on a GPU that NVML does not know: {device!r} is GPU-{uuid[:8]}…",
            f"NVML knows {', '.join(each.label for each in gpus[:8])}",
            *GpuDisagreementError.default_hints,
        )
    if gpu.parent_uuid is not None:
        return tuple(each for each in gpus if each is gpu or each.uuid == gpu.parent_uuid)
    if gpu.mig_enabled and not cuda.names_instances:  # Which of the instances computes, this driver does not tell.
        return (*(each for each in gpus if each.parent_uuid == gpu.uuid), gpu)
    return (gpu,)


def check_gpu(gpu: Gpu, hardware: Hardware, policy: Policy) -> None:
    """Checks a GPU that would fill a slot.

    Raises:
        VirtualGpuError: it is a virtual one, and the license does not allow that.
        GpuDisagreementError: the kernel's driver lists all GPUs, and not this one.
    """
    if gpu.is_virtual:
        if policy.vgpu:
            return  # What the kernel of a virtual machine lists for one has not been seen; it decides nothing.
        raise VirtualGpuError(f"{gpu.label} is a virtual GPU, whose UUID its host chooses")
    kernel, uuid = hardware.kernel, gpu.parent_uuid or gpu.uuid
    if kernel is not None and kernel.is_complete and uuid not in kernel.uuids:
        raise GpuDisagreementError(
            f"NVML reports a GPU that the kernel's driver does not have: {gpu.label}",
            f"/proc/driver/nvidia/gpus lists {', '.join(f'{each[:12]}…' for each in sorted(kernel.uuids))}",
            *GpuDisagreementError.default_hints,
        )


def not_licensed(
    licensed: list[str], hardware: Hardware, eligible: EligibleGpus, elsewhere: list[Gpu]
) -> GpuMismatchError | GpuUnreadableError:
    """Returns the refusal where no GPU that may fill a slot does.

    Args:
        licensed: the labels of the licensed GPUs.
        hardware: the box as measured.
        eligible: the GPUs that may fill a slot.
        elsewhere: licensed GPUs of this box that are not among them.
    """
    wanted = f"the license is for {', '.join(licensed[:8])}"
    if eligible.device is not None:
        computing = eligible.gpus[-1].label
        return GpuMismatchError(
            f"the device {eligible.device!r} is {computing}, and the license is for another GPU",
            wanted,
            *_where(eligible, elsewhere),
        )
    present = ", ".join(gpu.label for gpu in hardware.gpus.gpus[:8]) or "no NVIDIA GPU"
    if hardware.gpus.problems:
        return GpuUnreadableError(
            f"the licensed GPU cannot be found: {hardware.gpus.problems[0]}",
            wanted,
            "check that 'nvidia-smi -L' lists the GPU",
        )
    return GpuMismatchError(
        "the license is for another GPU than those in this machine",
        wanted,
        f"this machine has {present}",
        _NEW_GPU if hardware.gpus.gpus else _NO_NVML,
    )


def gpu_findings(hardware: Hardware) -> list[GpuFinding]:
    """Returns what is wrong or odd about the GPUs of this box, for `weightlock doctor`.

    It asks CUDA, where the box has GPUs and can be asked.
    """
    if not hardware.gpus.gpus:
        return []
    cuda = None if hardware.cuda is None else hardware.cuda()
    found = _library_findings(hardware.gpus.library, _NVML)
    if cuda is not None:
        found += [*_library_findings(cuda.library, _CUDA), *_cuda_findings(hardware, cuda)]
    for gpu in hardware.gpus.gpus:
        try:
            check_gpu(gpu, hardware, Policy(vgpu=False))
        except (VirtualGpuError, GpuDisagreementError) as error:
            found.append(GpuFinding(error.reason, True, error.message, error.hints[-1]))
        if not gpu.is_virtual and re.fullmatch(_VIRTUAL_NAME, gpu.name, re.ASCII):
            sentence = f"{gpu.label} is named like a virtual GPU, and the driver does not say that it is one"
            found.append(GpuFinding("vgpu_refused", False, sentence, VirtualGpuError.default_hints[0]))
    return found


def _check_library(library: DriverLibrary | None, name: str) -> None:
    if library is not None and library.doubt is not None:
        raise DriverUntrustedError(f"{name} was loaded from {library.path!r}, and {library.doubt}")


def _library_findings(library: DriverLibrary | None, name: str) -> list[GpuFinding]:
    try:
        _check_library(library, name)
    except DriverUntrustedError as error:
        return [GpuFinding(error.reason, True, error.message, error.hints[0])]
    if library is None or library.is_known:
        return []
    sentence = f"{name} was loaded from {library.path!r}, where drivers usually are not"
    return [GpuFinding("driver_untrusted", False, sentence, DriverUntrustedError.default_hints[0])]


def _cuda_findings(hardware: Hardware, cuda: CudaReading) -> list[GpuFinding]:
    if cuda.problem is not None:
        sentence = f"{cuda.problem}; a license for a GPU will not unlock for a device of CUDA's"
        return [GpuFinding("gpu_unreadable", True, sentence, "check that the framework finds the GPU")]
    found = []
    for index, uuid in enumerate(cuda.uuids):
        try:
            _computing(hardware, cuda, f"cuda:{index}", uuid)
        except (GpuDisagreementError, GpuUnreadableError) as error:
            found.append(GpuFinding(error.reason, True, error.message, error.hints[-1]))
    return found


def _where(eligible: EligibleGpus, elsewhere: list[Gpu]) -> tuple[str, ...]:
    """Returns hints about where the licensed GPU is."""
    if not elsewhere or eligible.cuda is None:
        return (_NEW_GPU,)
    for gpu in elsewhere:
        uuid = gpu.uuid.partition("-")[2]
        if uuid in eligible.cuda.uuids:
            return (f"{gpu.label} is 'cuda:{eligible.cuda.uuids.index(uuid)}' here",)
    hidden = f"{elsewhere[0].label} is in this machine, and CUDA does not show it to this process"
    return (hidden, *(_visible_hint() or (f"set CUDA_VISIBLE_DEVICES={elsewhere[0].uuid}",)))


def _visible_hint() -> tuple[str, ...]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return () if visible is None else (f"CUDA_VISIBLE_DEVICES is {visible[:200]!r}",)
