"""The check-up of where the home and the twin of the time state lie: whether they last, and can be written."""

import os
from collections.abc import Iterator
from pathlib import Path

from licensing.findings import Finding
from licensing.surroundings import Mount, System

__all__ = ["check_storage", "existing_part"]

LITTLE_BYTES = 16 * 1024 * 1024
NO_BYTES = 256 * 1024
"""The files of a home take a few kilobytes, and are written beside themselves before they are replaced."""

SHARED_TYPES = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "vboxsf", "prl_fs", "afs", "ceph", "glusterfs"),
    *("lustre", "gpfs", "beegfs", "ocfs2", "gfs2", "orangefs", "davfs", "fuse"),
)
LAYER_TYPES = ("overlay", "aufs", "fuse.fuse-overlayfs")
_LOST = "the device key and the time state are lost with it: every license then needs a new request"


def check_storage(system: System, home: Path, state: Path) -> Iterator[Finding]:
    """Checks the file systems that hold what must last.

    Args:
        system: what this process runs in.
        home: the customer's home, which need not exist yet.
        state: the directory of the twins of time states.
    """
    container = system.container()
    mount = system.mount_of(existing_part(home))
    finding = None if mount is None else _home_is_lost(home, mount, container)
    yield finding or Finding("storage", "ok", "home", f"the home is {str(home)!r}{_on(mount)}")
    yield from _check_writable(home)
    if mount is not None and (mount.fs_type in SHARED_TYPES or mount.fs_type.startswith("fuse.")):
        yield Finding(
            "storage",
            "warning",
            "home_shared",
            f"the home is on a file system that other machines may share ({mount.fs_type})",
            "whoever can read the device key there may use it elsewhere; two machines that write the same home "
            "lock each other out",
            "give each machine a home on a disk of its own: WEIGHTLOCK_HOME, or --home",
        )
    yield from _check_state(system, home, state, mount, container)


def existing_part(path: Path) -> Path:
    """Returns a path, or the nearest directory above it that is there."""
    path = Path(os.path.abspath(path))
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _home_is_lost(home: Path, mount: Mount, container: str | None) -> Finding | None:
    if mount.is_volatile:
        return Finding(
            "storage",
            "problem",
            "home_volatile",
            f"the home {str(home)!r} is in memory ({mount.fs_type} at {mount.point!r})",
            f"it is gone after the next start; {_LOST}",
            "choose a directory on a disk: WEIGHTLOCK_HOME, or --home; in a container, on a volume",
        )
    if container and mount.point == "/":
        in_layer = mount.fs_type in LAYER_TYPES
        return Finding(
            "storage",
            "problem" if in_layer else "warning",
            "home_in_container",
            f"the home {str(home)!r} is {'in' if in_layer else 'perhaps in'} the container's own layer ({container})",
            f"it is gone when the container is removed; {_LOST}",
            f"put it on a volume: docker run -v weightlock:{home}",
        )
    if mount.fs_type in LAYER_TYPES:
        return Finding(
            "storage",
            "warning",
            "home_on_overlay",
            f"the home {str(home)!r} is on an overlay, as on a system that boots from an image",
            f"where the upper layer is in memory, it is gone after the next start; {_LOST}",
            "choose a directory on a disk: WEIGHTLOCK_HOME, or --home",
        )
    return None


def _check_writable(home: Path) -> Iterator[Finding]:
    place = existing_part(home)
    read_only = bool(os.statvfs(place).f_flag & os.ST_RDONLY)
    if read_only or not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        why = "it is on a file system that is mounted read-only" if read_only else "this user may not write there"
        yield Finding(
            "storage",
            "problem",
            "home_read_only",
            f"the home {str(home)!r} cannot be written: {why}",
            "the highest time seen must be stored from time to time: unlocking is then refused",
            "make it writable for whoever uses the licenses, or choose another one: WEIGHTLOCK_HOME, or --home",
        )
        return
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize
    no_files = status.f_files > 0 and status.f_favail == 0
    if no_files or free < LITTLE_BYTES:
        what = "no more files can be made" if no_files else f"{free // 1024} kB are left"
        yield Finding(
            "storage",
            "problem" if no_files or free < NO_BYTES else "warning",
            "home_full",
            f"the disk of the home {str(home)!r} is full: {what}",
            "the highest time seen must be stored from time to time: unlocking is refused when it cannot be",
            "free some space",
        )


def _check_state(
    system: System, home: Path, state: Path, home_mount: Mount | None, container: str | None
) -> Iterator[Finding]:
    mount = system.mount_of(existing_part(state))
    if Path(os.path.abspath(state)).is_relative_to(os.path.abspath(home)):
        yield Finding(
            "storage",
            "note",
            "state_in_home",
            f"the state directory {str(state)!r} is in the home",
            "an older copy of the home that is put back brings its twin with it, and is then not noticed",
            "leave WEIGHTLOCK_STATE unset, or name a directory elsewhere",
        )
    elif mount is not None and (mount.is_volatile or (container and mount.point == "/" and mount != home_mount)):
        yield Finding(
            "storage",
            "note",
            "state_volatile",
            f"the state directory {str(state)!r} does not last ({mount.fs_type})",
            "it keeps a second copy of the highest time seen: without it licenses work, and an older home that is put "
            "back is not noticed",
            "put it on a disk, too: WEIGHTLOCK_STATE",
        )


def _on(mount: Mount | None) -> str:
    return "" if mount is None else f", on {mount.fs_type}"
