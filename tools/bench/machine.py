"""What the figures were measured on: processor, memory, kernel, storage, versions."""

import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from cryptors.processors import usable_processors
from licensing.version import __version__

__all__ = ["available_memory", "huge_page_stalls", "machine_facts"]

_CGROUPS = Path("/sys/fs/cgroup")
_DISTRIBUTIONS = (
    "cryptography", "torch", "safetensors", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorflow",
    "tensorflow-cpu", "keras", "paddlepaddle", "ai-edge-litert", "llama-cpp-python", "transformers", "numpy",
    "cryptotensors", "tensorizer",
)  # fmt: skip


def machine_facts(folder: Path) -> dict[str, Any]:
    """Returns what this machine is.

    Args:
        folder: where the temporary files are.
    """
    processor, flags = _processor()
    return {
        "processor": processor,
        "processors": os.cpu_count(),
        "processors_usable": usable_processors(),
        "aes_instructions": [flag for flag in ("aes", "vaes", "vpclmulqdq", "pmull") if flag in flags],
        "memory_bytes": _memory("MemTotal"),
        "memory_available_bytes": available_memory(),
        "kernel": f"{platform.system()} {platform.release()}",
        "huge_pages": _chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
        "huge_pages_of_memory_files": _chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
        "storage": _storage(folder),
        "versions": _versions(),
    }


def available_memory() -> int:
    """Returns how many bytes this process may still use: what the system has, or what its cgroups leave."""
    left = [_memory("MemAvailable")]
    for group in _cgroups():
        maximum, used = _read(group / "memory.max"), _read(group / "memory.current")
        if maximum.isdigit() and used.isdigit():
            cached = re.search(r"^file ([0-9]+)$", _read(group / "memory.stat"), re.MULTILINE)
            left.append(int(maximum) - int(used) + int(cached[1] if cached else 0))
    return max(0, min(left))


def huge_page_stalls() -> int:
    """Returns how often, since the system started, a process had to wait for a huge page, or got small ones instead."""
    found = re.findall(r"^(?:compact_stall|thp_fault_fallback) ([0-9]+)$", _read(Path("/proc/vmstat")), re.MULTILINE)
    return sum(map(int, found))


def _cgroups() -> list[Path]:
    """Returns the directories of this process's cgroup and of those above it."""
    match = re.search(r"^0::/(.*)$", _read(Path("/proc/self/cgroup")), re.MULTILINE)
    parts = Path(match[1]).parts if match else ()
    return [_CGROUPS.joinpath(*parts[:count]) for count in range(len(parts) + 1)]


def _processor() -> tuple[str, set[str]]:
    text = _read(Path("/proc/cpuinfo"))
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1] if name else platform.machine(), set(flags[1].split() if flags else ())


def _memory(name: str) -> int:
    match = re.search(rf"^{name}:\s+([0-9]+) kB$", _read(Path("/proc/meminfo")), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _chosen(path: str) -> str | None:
    """Returns the word in brackets of a kernel setting such as "always [madvise] never"."""
    match = re.search(r"\[(\w+)\]", _read(Path(path)))
    return match[1] if match else None


def _storage(folder: Path) -> dict[str, Any]:
    """Returns the file system that holds a folder, and the device under it."""
    device = os.stat(folder).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    found: dict[str, Any] = {"file_system": None, "device": None, "rotating": None}
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        left, _, right = line.partition(" - ")
        if left.split()[2] == number:
            found["file_system"], found["device"] = right.split()[:2]
    block = Path("/sys/dev/block") / number
    for queue in (block / "queue", block / ".." / "queue"):  # Of a disk, or of the disk that a partition is on.
        if (text := _read(queue / "rotational")) in ("0", "1"):
            found["rotating"] = text == "1"
            break
    return found


def _versions() -> dict[str, str]:
    found = {"weightlock": __version__, "python": sys.version.split()[0]}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def _read(path: Path) -> str:
    """Returns a file of the kernel's, or nothing where this kernel does not have it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
