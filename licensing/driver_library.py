"""From which file the NVIDIA driver's answers come, and whether a driver could be there.

docs/spec/license.md, section 7.3. NVML and CUDA are loaded by name, so `LD_LIBRARY_PATH` and `LD_PRELOAD` can put
another library in their place. The kernel knows which file the answering function was mapped from
(`/proc/self/maps`, proc(5)); its name says more than the name that was asked for, and more than the file's own.

This raises the effort and proves nothing: root can put any file anywhere. So a file that root alone can have put
where it is counts as the driver's, or as evidence for `weightlock doctor` where no driver is known to be there.
"""

import ctypes
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["DriverLibrary", "judge_library", "library_of", "mapped_file", "writer_of"]

KNOWN_PLACES = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64"),  # Distributions; WSL has /usr/lib/wsl.
    *("/usr/local/lib", "/usr/local/lib64"),
    *("/usr/local/nvidia", "/usr/local/cuda", "/opt/cuda", "/opt/nvidia", "/var/lib/nvidia"),
    *("/run/nvidia", "/home/kubernetes/bin/nvidia"),  # Driver containers; Kubernetes on Google's system for containers.
    *("/run/opengl-driver", "/nix/store", "/gnu/store"),  # NixOS and Guix.
    *("/.singularity.d/libs", "/snap", "/var/lib/snapd/lib"),  # Apptainer's directory belongs to the user.
)
"""Where drivers are; `/usr/local/cuda` stands for `/usr/local/cuda-12.8` as well. A file there is judged by itself."""

USERS_PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run/user", "/home", "/root")  # noqa: S108 (nothing is written there)
"""Where no driver is, whoever owns the file: in containers, everybody is root."""

LOADER_CACHE = Path("/etc/ld.so.cache")

_MAPPING = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ *(.*)")


@dataclass(frozen=True)
class DriverLibrary:
    """The file that a library of the driver was loaded from.

    Attributes:
        path: as the kernel names it.
        doubt: why it cannot be the driver's; None where nothing speaks against it.
        is_known: whether it lies where drivers are.
    """

    path: str
    doubt: str | None = None
    is_known: bool = True


def library_of(function: Any) -> DriverLibrary | None:
    """Returns the library that a function of ctypes lies in; None where the system does not say."""
    path = mapped_file(ctypes.cast(function, ctypes.c_void_p).value or 0)
    return None if path is None else judge_library(path)


def mapped_file(address: int, maps: Path = Path("/proc/self/maps")) -> str | None:
    """Returns the name of the file that this process has mapped at an address; None where it is no file's."""
    try:
        lines = maps.read_bytes().splitlines()
    except OSError:
        return None
    for line in lines:
        found = _MAPPING.match(line)
        if found and int(found[1], 16) <= address < int(found[2], 16):
            return os.fsdecode(found[3]) if found[3].startswith(b"/") else None
    return None


def judge_library(
    path: str,
    known: Sequence[str] = KNOWN_PLACES,
    users: Sequence[str] = USERS_PLACES,
    cache: Path = LOADER_CACHE,
    writer: Callable[[str], str | None] | None = None,
) -> DriverLibrary:
    """Judges where a library of the driver lies.

    Args:
        path: as the kernel names it; with " (deleted)" behind it, as after an update of the driver.
        known: where drivers are.
        users: where users and programs keep files of their own.
        cache: the dynamic loader's, which names the libraries that it finds by itself (ldconfig(8)).
        writer: says who can change a path; by default, `writer_of`.
    """
    if path.startswith("/memfd:"):
        return DriverLibrary(path, "it is a file in memory", is_known=False)
    path = path.removesuffix(" (deleted)")
    is_known = _is_beneath(path, known) or path in _cached(cache)
    if not is_known and _is_beneath(path, users):
        return DriverLibrary(path, "it lies where users and programs keep files of their own", is_known)
    for each in (path,) if is_known else (path, *map(str, Path(path).parents)):
        if who := (writer or writer_of)(each):
            return DriverLibrary(path, f"{who} can change {each!r}", is_known)
    return DriverLibrary(path, None, is_known)


def _is_beneath(path: str, places: Sequence[str]) -> bool:
    """Tells whether a path is in one of the places, or in one that is named like it with a version behind."""
    return any(re.match(re.escape(place) + r"(-[0-9.]+)?/", path, re.ASCII) for place in places)


def _cached(cache: Path) -> set[str]:
    """Returns the files that the loader's cache names for libraries of the driver, as the kernel would name them.

    The cache ends with a table of names, each with a zero byte behind it (dl-cache.h of glibc): that is all that is
    needed of it.
    """
    try:
        data = cache.read_bytes()
    except OSError:
        return set()
    names = re.findall(rb"(/[^\0]*/lib(?:nvidia-ml|cuda)\.so[^\0]*)\0", data)
    return {os.path.realpath(os.fsdecode(name)) for name in names}


def writer_of(
    path: str, status_of: Callable[[str], os.stat_result] = os.stat, can_write: Callable[[str], bool] | None = None
) -> str | None:
    """Says who but root can change a file or what is in a directory; None for nobody, and where the system is silent.

    Nobody's files are root's in a container whose user namespace does not know root, and on network file systems.

    Args:
        path: the file or the directory.
        status_of: reads its owner and its mode.
        can_write: whether this process may write to it; by default, the system is asked unless the process is root's.
    """
    try:
        status = status_of(path)
    except OSError:
        return None
    if status.st_uid not in (0, _overflow_uid()):
        return f"the user {status.st_uid}"
    if status.st_mode & stat.S_ISVTX:  # Only the owner of what is in such a directory can replace it.
        return None
    if status.st_mode & stat.S_IWOTH:
        return "every user"
    return "the user of this process" if (can_write or _can_write)(path) else None


def _can_write(path: str) -> bool:
    return os.geteuid() != 0 and os.access(path, os.W_OK)


def _overflow_uid() -> int:
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 65534
