"""The check-up of the GPUs: which are seen, which are hidden, and what may become of them.

What refuses a license is `licensing.gpu_checks`' to say; here is what comes before it and after it.
"""

import os
import re
from collections.abc import Callable, Iterator

from licensing.findings import Finding, Level
from licensing.gpu_checks import gpu_findings
from licensing.gpus import Gpu
from licensing.hardware import Hardware
from licensing.surroundings import System

__all__ = ["check_gpus"]

_UNREADABLE = "a license for a GPU that cannot be read does not unlock"


def check_gpus(system: System, hardware: Hardware, can_open: Callable[[str], bool] | None = None) -> Iterator[Finding]:
    """Checks the GPUs.

    Args:
        system: what this process runs in.
        hardware: the box as measured.
        can_open: whether this user may use a device; by default, the system is asked.
    """
    gpus = [gpu for gpu in hardware.gpus.gpus if gpu.parent_uuid is None]
    nodes = _nodes(system)
    for problem in hardware.gpus.problems:
        mend = "check that 'nvidia-smi -L' lists every GPU; after an update of the driver, restart the machine"
        yield Finding("gpus", "problem", "gpu_unreadable", problem, _UNREADABLE, mend)
    yield from _check_permissions(system, nodes, can_open or _can_open)
    yield from _check_driver(system, hardware, gpus, nodes)
    yield from _check_visibility(system, gpus)
    yield from _check_instances(hardware.gpus.gpus)
    for found in gpu_findings(hardware):
        why = "unlocking for this GPU is refused" if found.refuses else "it is near to what unlocking refuses"
        level: Level = "problem" if found.refuses else "warning"
        yield Finding("gpus", level, found.reason, found.sentence, why, found.mend)
    if gpus:
        names = ", ".join(gpu.label for gpu in gpus[:4]) + (f" and {len(gpus) - 4} more" if len(gpus) > 4 else "")
        driver = hardware.gpus.driver_version or "unknown"
        yield Finding("gpus", "ok", "gpus", f"the driver {driver} reports {names}")


def _can_open(path: str) -> bool:
    return os.access(path, os.R_OK | os.W_OK, effective_ids=True)


def _nodes(system: System) -> list[str]:
    """Returns the GPUs' device files, such as "/dev/nvidia0"."""
    try:
        names = os.listdir(system.place("/dev"))
    except OSError:
        return []
    return sorted(f"/dev/{name}" for name in names if re.fullmatch("nvidia[0-9]+", name, re.ASCII))


def _check_permissions(system: System, nodes: list[str], can_open: Callable[[str], bool]) -> Iterator[Finding]:
    shared = [path for path in ("/dev/nvidiactl", "/dev/nvidia-uvm") if system.exists(path)]
    closed = [path for path in (*nodes, *shared) if not can_open(str(system.place(path)))]
    if closed:
        yield Finding(
            "gpus",
            "problem",
            "gpu_forbidden",
            f"this user may not use {', '.join(closed[:4])}",
            "the driver hides the GPU from this user, and a license for it does not unlock",
            "add the user to the group that 'ls -l /dev/nvidia*' shows, or set the driver's NVreg_DeviceFileMode",
        )


def _check_driver(system: System, hardware: Hardware, gpus: list[Gpu], nodes: list[str]) -> Iterator[Finding]:
    in_kernel = bool(nodes) or system.exists("/proc/driver/nvidia/version")
    if not gpus and not hardware.gpus.problems:
        if in_kernel:
            yield Finding(
                "gpus",
                "problem",
                "driver_incomplete",
                "the kernel has the NVIDIA driver, and its library libnvidia-ml.so.1 is missing here, or finds no GPU",
                _UNREADABLE,
                "in a container, start it with NVIDIA_DRIVER_CAPABILITIES=compute,utility and --gpus all; "
                "elsewhere, install the driver's libraries of the same version",
            )
        else:
            yield Finding(
                "gpus",
                "note",
                "gpu_none",
                "there is no NVIDIA GPU here, or no driver for it",
                "a license for a GPU cannot be requested or used; one for the machine alone can",
                "install the NVIDIA driver if there is a GPU; in a container, start it with --gpus all",
            )
    if gpus and nodes and len(nodes) != len(gpus):
        yield Finding(
            "gpus",
            "warning",
            "gpu_count",
            f"there are {len(nodes)} device files of GPUs, and the driver reports {len(gpus)}",
            "a GPU that is not reported, because it failed or belongs to another container, cannot be licensed here",
            "compare 'nvidia-smi -L' with 'ls /dev/nvidia*'",
        )


def _check_visibility(system: System, gpus: list[Gpu]) -> Iterator[Finding]:
    visible = system.environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and gpus:
        shown = repr(visible[:80])
        if visible.strip() in ("", "-1", "NoDevFiles"):
            yield Finding(
                "gpus",
                "warning",
                "gpu_hidden",
                f"CUDA_VISIBLE_DEVICES is {shown}, which hides every GPU from CUDA",
                "a model cannot be loaded for 'cuda:N', and a license for a GPU does not unlock for it",
                "unset CUDA_VISIBLE_DEVICES where models run on a GPU",
            )
        elif not re.search("GPU-|MIG-", visible) and len(gpus) > 1:
            yield Finding(
                "gpus",
                "note",
                "gpu_by_index",
                f"CUDA_VISIBLE_DEVICES is {shown}: numbers, which change when a board is added or fails",
                "the model then computes on another GPU, for which there may be no license",
                f"name GPUs by their UUIDs, such as CUDA_VISIBLE_DEVICES={gpus[0].uuid}",
            )
    offered = system.environment.get("NVIDIA_VISIBLE_DEVICES")
    if offered is not None and system.container() and offered not in ("all", "none", "void", ""):
        if not re.search("GPU-|MIG-", offered):
            yield Finding(
                "gpus",
                "note",
                "gpu_by_index",
                f"this container is given GPUs by number: NVIDIA_VISIBLE_DEVICES is {offered[:80]!r}",
                "another start, or another node, can give it other GPUs, for which there may be no license",
                "give it GPUs by UUID, or ask for a license for all GPUs of the machine",
            )
    elif offered in ("none", "void", "") and system.container() and not gpus:
        yield Finding(
            "gpus",
            "warning",
            "gpu_hidden",
            f"NVIDIA_VISIBLE_DEVICES is {offered!r}: this container is given no GPU",
            "a license for a GPU does not unlock here",
            "start the container with --gpus all, or NVIDIA_VISIBLE_DEVICES=all",
        )


def _check_instances(gpus: tuple[Gpu, ...]) -> Iterator[Finding]:
    parents = {gpu.parent_uuid for gpu in gpus if gpu.parent_uuid is not None}
    for gpu in gpus:
        if gpu.mig_enabled and gpu.uuid not in parents:
            yield Finding(
                "gpus",
                "problem",
                "mig_empty",
                f"{gpu.label} is in MIG mode and has no instances",
                "nothing can compute on it; licenses for its former instances do not unlock",
                "make the instances again, such as with nvidia-mig-parted, or leave MIG mode",
            )
        elif gpu.mig_enabled:
            yield Finding(
                "gpus",
                "note",
                "mig_instances",
                f"{gpu.label} is divided into MIG instances",
                "instances are gone after a restart of the machine, and those made anew may have other UUIDs, "
                "for which a license by instance does not unlock",
                "have the same instances made at every start, or ask the vendor to license the whole GPU",
            )
