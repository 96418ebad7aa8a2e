"""What this process runs in, as the system tells: mounts, a container, a virtual machine, the present start.

Nothing here binds a license. `weightlock doctor` predicts from it what a restart would change, and
`weightlock request --prove` tells one start from another by it. All of it is read beneath a root directory, so that a
test can build any system; what cannot be read is as if it were not there.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from licensing.encoding import framed_sha256

__all__ = ["VOLATILE_TYPES", "Mount", "Start", "System"]

VOLATILE_TYPES = ("tmpfs", "ramfs", "rootfs", "devtmpfs")
"""File systems that are in memory: nothing in them outlives the next start of the machine."""

_CHUNK_BYTES, _MAX_CHUNKS = 64 * 1024, 64
_CONTAINER_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_CONTAINER_FILES = {
    "/.dockerenv": "Docker",
    "/run/.containerenv": "Podman",
    "/run/host/container-manager": "a container manager",  # systemd's Container Interface.
    "/.singularity.d": "Apptainer",
    "/run/secrets/kubernetes.io": "Kubernetes",
    "/var/run/secrets/kubernetes.io": "Kubernetes",
}
_CONTAINER_GROUPS = re.compile("/(docker|libpod|crio|nerdctl)[-/][0-9a-f]{64}|/(kubepods|lxc)[-./]")
_HYPERVISORS = {
    "QEMU": "QEMU",
    "KVM": "KVM",
    "VMware": "VMware",
    "VirtualBox": "VirtualBox",
    "innotek": "VirtualBox",
    "Virtual Machine": "Hyper-V",
    "Xen": "Xen",
    "Amazon EC2": "Amazon EC2",
    "Google Compute Engine": "Google Compute Engine",
    "OpenStack": "OpenStack",
    "Parallels": "Parallels",
}


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo (proc_pid_mountinfo(5)).

    Attributes:
        point: where it is mounted.
        fs_type: the file system's type, such as "ext4".
        root: which of the file system's directories or files is mounted there.
        source: what is mounted, such as a device.
        options: those of the mount and of the file system.
    """

    point: str
    fs_type: str
    root: str
    source: str
    options: tuple[str, ...]

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written there."""
        return "ro" in self.options

    @property
    def is_volatile(self) -> bool:
        """Whether it is in memory."""
        return self.fs_type in VOLATILE_TYPES


@dataclass(frozen=True)
class Start:
    """One start of a system or of a container.

    Attributes:
        boot: the kernel's boot ID, a UUID that each boot draws anew (random(4)).
        identity: what tells this start from every other one, as 64 hexadecimal digits: of a container, too, that was
            stopped and started while the machine ran on.
        container: what tells this container from every other one, in the same form; None outside of containers.
    """

    boot: str
    identity: str
    container: str | None


@dataclass(frozen=True)
class System:
    """The system beneath a root directory.

    Args:
        root: "/", or what a test built in its place.
        environment: the variables of this process.
    """

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def text(self, path: str) -> str | None:
        """Returns what a file says, without whitespace around it; None where it cannot be read."""
        try:
            with open(self.place(path), "rb", buffering=0) as file:
                # The kernel refuses to give its settings to a reader who asks for megabytes at once.
                chunks = iter(lambda: file.read(_CHUNK_BYTES), b"")
                return b"".join(itertools.islice(chunks, _MAX_CHUNKS)).decode("utf-8", "replace").strip()
        except (OSError, ValueError):
            return None

    def place(self, path: str) -> Path:
        """Returns where a path of the system lies."""
        return self.root / path.lstrip("/")

    def exists(self, path: str) -> bool:
        """Tells whether something is there."""
        try:
            return self.place(path).exists()
        except OSError:
            return False

    def mounts(self) -> list[Mount]:
        """Returns all mounts that this process sees, those that cover others last."""
        lines = (self.text("/proc/self/mountinfo") or "").splitlines()
        return [mount for mount in map(_mount, lines) if mount is not None]

    def mount_of(self, path: Path) -> Mount | None:
        """Returns the mount that a path of this system lies in; links are followed."""
        resolved = str(path.resolve())
        if self.root != Path("/") and resolved.startswith(str(self.root.resolve())):
            resolved = resolved[len(str(self.root.resolve())) :] or "/"
        found = None
        for mount in self.mounts():
            inside = resolved == mount.point or resolved.startswith(mount.point.rstrip("/") + "/")
            if inside and (found is None or len(mount.point) >= len(found.point)):
                found = mount
        return found

    def container(self) -> str | None:
        """Returns what kind of container this seems to be, and by which sign; None outside of one.

        The signs are those that systemd-detect-virt(1) and others go by. Some are left behind in the disk images of
        virtual machines that were made from a container's image.
        """
        for path, name in _CONTAINER_FILES.items():
            if self.exists(path):
                return f"{name}, by {path}"
        for process in ("1", "self"):
            if found := _CONTAINER_GROUPS.search(self.text(f"/proc/{process}/cgroup") or ""):
                return f"{found[1] or found[2]}, by the control groups of the process {process}"
        variables = self.text("/proc/1/environ") or ""
        if found := re.search("(?:^|\0)container=([^\0]+)", variables):
            return f"{found[1][:40]}, by the environment of the process 1"
        return None

    def hypervisor(self) -> str | None:
        """Returns what kind of virtual machine this is; None on hardware, or where it cannot be told."""
        names = [self.text(f"/sys/class/dmi/id/{name}") or "" for name in ("sys_vendor", "product_name", "bios_vendor")]
        known = next((name for sign, name in _HYPERVISORS.items() if any(sign in text for text in names)), None)
        # Clouds name bare machines as they name virtual ones; the processor's flag is what every hypervisor sets.
        processor = re.search(r"^flags\s*:.*\bhypervisor\b", self.text("/proc/cpuinfo") or "", re.MULTILINE)
        if processor or self.exists("/sys/hypervisor/type"):
            return known or self.text("/sys/hypervisor/type") or "an unknown hypervisor"
        return known if self.text("/proc/cpuinfo") is None else None

    def start(self) -> Start | None:
        """Returns the present start; None where the kernel does not tell its boot ID."""
        boot = self.text("/proc/sys/kernel/random/boot_id")
        if boot is None or not re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", boot, re.ASCII):
            return None
        container = self._container_identity()
        began = self._beginning_of_process_1() or ""
        parts = [boot.encode(), began.encode(), (container or "").encode()]
        identity = framed_sha256(b"weightlock/1/start", *parts).hex()
        return Start(boot, identity, container)

    def _container_identity(self) -> str | None:
        """Hashes what a container runtime named this container by: its writable layer, or its ID."""
        if self.container() is None:
            return None
        top = next((mount for mount in reversed(self.mounts()) if mount.point == "/"), None)
        layer = next((option for option in top.options if option.startswith("upperdir=")), None) if top else None
        if layer is None:
            for path in ("/proc/self/cgroup", "/proc/self/mountinfo"):
                if found := _CONTAINER_ID.search(self.text(path) or ""):
                    layer = found[0]
                    break
        return None if layer is None else framed_sha256(b"weightlock/1/container", layer.encode()).hex()

    def _beginning_of_process_1(self) -> str | None:
        """Returns when process 1 began, in ticks since the boot (proc_pid_stat(5)): a container has one of its own."""
        # The second field is the program's name in brackets, which may hold blanks and brackets.
        fields = (self.text("/proc/1/stat") or "").rpartition(")")[2].split()
        return fields[19] if len(fields) > 19 else None


def _mount(line: str) -> Mount | None:
    before, separator, after = line.partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    if not separator or len(fields) < 6 or len(rest) < 3:
        return None
    root, point = _unescaped(fields[3]), _unescaped(fields[4])
    return Mount(point, rest[0], root, _unescaped(rest[1]), (*fields[5].split(","), *rest[2].split(",")))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
