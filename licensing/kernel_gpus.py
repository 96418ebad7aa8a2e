"""GPUs as the kernel's driver lists them, where that can be seen. docs/spec/license.md, section 7.3.

`/proc/driver/nvidia/gpus/*/information` is a text for people ("Using the /proc File System Interface" in the README
of NVIDIA's driver). A GPU that nothing has used since the system started has question marks for digits there.
NVIDIA's container runtime puts a file system of its own over the folder, with some of the GPUs, or none.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from licensing.gpus import GPU_UUID_PATTERN

__all__ = ["KernelGpus", "read_kernel_gpus"]

_FOLDER = Path("/proc/driver/nvidia/gpus")
_INFORMATION_BYTES = 64 * 1024
_LINE = re.compile(r"^GPU UUID:\s*(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class KernelGpus:
    """What the kernel's driver lists.

    Attributes:
        uuids: of the GPUs whose UUID can be read.
        is_complete: whether there are no other GPUs: nothing lies over the list, and each GPU in it has its UUID.
    """

    uuids: frozenset[str]
    is_complete: bool


def read_kernel_gpus(folder: Path = _FOLDER, proc: Path = Path("/proc")) -> KernelGpus | None:
    """Reads the list; None where there is none, as in many containers, on WSL and on boards with a built-in GPU.

    Args:
        folder: has one folder for each GPU.
        proc: what the folder is on where nothing lies over it.
    """
    try:
        is_complete = os.stat(folder).st_dev == os.stat(proc).st_dev
        places = sorted(folder.iterdir())
    except OSError:
        return None
    uuids = [_uuid(place / "information") for place in places]
    known = frozenset(uuid for uuid in uuids if uuid is not None)
    return KernelGpus(known, is_complete and len(known) == len(uuids)) if uuids else None


def _uuid(information: Path) -> str | None:
    try:
        with open(information, "rb") as file:
            text = file.read(_INFORMATION_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    found = _LINE.search(text)
    uuid = found[1] if found else ""
    return uuid if re.fullmatch(GPU_UUID_PATTERN, uuid, re.ASCII) else None
