"""Memory that a virtual machine has given back to its host.

With free page reporting, the kernel tells the host within seconds which large free blocks it does not need, and the
host takes them away; whoever touches them next waits for the host to find memory and to clear it. That can take ten
times as long as everything that a load does by itself, and hits whoever uses huge pages most, because these are such
blocks. It says nothing about a load, only about how long nobody has used the memory. So before each run the memory is
fetched back, for all candidates alike.
"""

import mmap
from functools import cache
from pathlib import Path

from tools.bench.machine import available_memory
from tools.bench.settings import MIB

__all__ = ["fetch_memory", "gives_memory_back"]

DEVICES = Path("/sys/bus/virtio/devices")
BALLOON = "0x0005"
REPORTING = 5
"""The number of the balloon device, and of its feature VIRTIO_BALLOON_F_REPORTING (Virtual I/O Device 1.2, 5.5)."""

_ZEROS = bytes(MIB)


@cache
def gives_memory_back(devices: Path = DEVICES) -> bool:
    """Returns whether this machine is a virtual one whose host takes free memory away."""
    for device in devices.glob("*"):
        try:
            kind, features = ((device / name).read_text().strip() for name in ("device", "features"))
        except OSError:
            continue
        if kind == BALLOON and features[REPORTING : REPORTING + 1] == "1":
            return True
    return False


def fetch_memory(size: int) -> None:
    """Touches so much memory, or half of what is available, and frees it: whoever comes next finds it there."""
    size = min(size, available_memory() // 2) // MIB * MIB
    if not size:
        return
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        try:
            memory.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass  # A kernel without huge pages.
        for start in range(0, size, MIB):
            memory[start : start + MIB] = _ZEROS
