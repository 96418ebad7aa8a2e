"""Systems that tests build: a directory that stands for "/", with what the kernel and the distribution would show."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from licensing.surroundings import System

__all__ = ["BOOT", "SystemBuilder", "mount_line"]

BOOT = "b20f01b9-283a-44e5-bc90-c687aeb975eb"
LAYER = "/var/lib/docker/overlay2/4f1c/diff"


def mount_line(
    point: str, fs_type: str = "ext4", options: str = "rw", source: str = "/dev/vda", root: str = "/"
) -> str:
    """Returns a line of /proc/self/mountinfo."""
    return f"36 35 98:0 {root} {point} rw,noatime master:1 - {fs_type} {source} {options}"


@dataclass(frozen=True)
class SystemBuilder:
    """Builds a system beneath a directory.

    Attributes:
        root: the directory.
    """

    root: Path

    def build(
        self,
        files: Mapping[str, str] | None = None,
        mounts: Iterable[str] = (mount_line("/"),),
        **environment: str,
    ) -> System:
        """Returns a system on a disk, with a boot ID, without a hypervisor; `files` are added, or replace others."""
        usual = {
            "/proc/self/mountinfo": "\n".join(mounts),
            "/proc/sys/kernel/random/boot_id": f"{BOOT}\n",
            "/proc/1/stat": "1 (init) (x)) S " + " ".join(str(number) for number in range(4, 53)),
            "/proc/cpuinfo": "processor : 0\nflags\t\t: fpu vme de\n",
            "/proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
            "/proc/sys/kernel/yama/ptrace_scope": "1\n",
            "/proc/sys/kernel/core_pattern": "core\n",
        }
        for path, text in {**usual, **(files or {})}.items():
            place = self.root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return System(self.root, environment)

    def container(
        self,
        files: Mapping[str, str] | None = None,
        mounts: Iterable[str] = (),
        layer: str = LAYER,
        **environment: str,
    ) -> System:
        """Returns the same as a container of Docker's would show it."""
        top = mount_line("/", "overlay", f"rw,lowerdir=/l/A:/l/B,upperdir={layer},workdir=/w", "overlay")
        return self.build({"/.dockerenv": "", **(files or {})}, (top, *mounts), **environment)
