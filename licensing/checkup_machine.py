"""The check-up of the machine ID: whether there is one, whether it stays, and whether it is this machine's alone."""

from collections.abc import Iterator

from licensing.errors import MachineIdUnavailableError
from licensing.findings import Finding
from licensing.machine import STABLE_SOURCES, Machine
from licensing.surroundings import System

__all__ = ["check_machine"]

_MOUNT_IT = (
    "mount the host's machine ID into the container, read-only: "
    "docker run -v /etc/machine-id:/etc/machine-id:ro; in Kubernetes, a hostPath volume of type File"
)
_NEXT_ONE = "licenses are bound to the machine ID, and the next container has another one, or the same as all others"


def check_machine(system: System, machine: Machine | MachineIdUnavailableError) -> Iterator[Finding]:
    """Checks the machine ID.

    Args:
        system: what this process runs in.
        machine: as measured, or why it could not be.
    """
    container = system.container()
    if isinstance(machine, MachineIdUnavailableError):
        yield _unavailable(system, machine, container)
        return
    yield from _check_sources(system, machine)
    place = _check_place(system, machine, container)
    yield place or Finding("machine", "ok", "machine_id", f"the machine ID from {machine.source} is stable")
    hypervisor = system.hypervisor()
    if hypervisor is not None:
        yield Finding(
            "machine",
            "note",
            "virtual_machine",
            f"this is a virtual machine ({hypervisor})",
            "clones of it share its machine ID, and nothing inside can tell: they would be one machine to a license, "
            "and a clone that draws a new ID is locked out",
            "let every clone draw its own ID before it asks for a license: empty /etc/machine-id in the image",
        )


def _unavailable(system: System, error: MachineIdUnavailableError, container: str | None) -> Finding:
    texts = {source: system.text(source) for source in STABLE_SOURCES}
    source, text = next(((source, text) for source, text in texts.items() if text), ("/etc/machine-id", None))
    if text is not None and text == "uninitialized":
        found = f"{source} says 'uninitialized': this is an image whose first boot was never completed"
    elif text is not None:
        found = f"{source} holds no machine ID: {error.message}"
    elif any(each is not None for each in texts.values()):
        found = "/etc/machine-id is empty, as in an image that was never booted"
    else:
        found = "there is no /etc/machine-id"
    mend = "run 'systemd-machine-id-setup' as root, once, and then make the request"
    return Finding(
        "machine",
        "problem",
        "machine_id_unavailable",
        found,
        "licenses are bound to the machine ID: no license can be requested or used without one",
        _MOUNT_IT if container else mend,
    )


def _check_sources(system: System, machine: Machine) -> Iterator[Finding]:
    others = [source for source in STABLE_SOURCES if source != machine.source]
    for source in others:
        text = system.text(source)
        if text and text != machine.machine_id:
            yield Finding(
                "machine",
                "warning",
                "machine_ids_differ",
                f"{machine.source} and {source} hold two different IDs; the first one counts",
                f"if {machine.source} is removed or made again, as updates of D-Bus can do, licenses stop",
                f"before the first request, make {machine.source} a link to {source}; "
                f"with licenses in use, write what {machine.source} says to both",
            )


def _check_place(system: System, machine: Machine, container: str | None) -> Finding | None:
    """Checks the file system that the ID was read from."""
    mount = system.mount_of(system.place(machine.source))
    if mount is None:
        return None
    is_mounted_alone = mount.point in STABLE_SOURCES
    if container and not is_mounted_alone:
        in_layer = mount.fs_type in ("overlay", "aufs", "fuse.fuse-overlayfs") or mount.is_volatile
        return Finding(
            "machine",
            "problem" if in_layer else "warning",
            "machine_id_of_image",
            f"this is a container ({container}), and {machine.source} belongs to its image"
            if in_layer
            else f"this looks like a container ({container}), and {machine.source} is not the host's",
            _NEXT_ONE,
            _MOUNT_IT
            if machine.source == "/etc/machine-id"
            else f"{_MOUNT_IT}; and {machine.source}, which counts before it, in the same way",
        )
    if mount.is_volatile:
        return Finding(
            "machine",
            "warning" if container else "problem",
            "machine_id_transient",
            f"the machine ID was made for this start only: {machine.source} is in memory ({mount.fs_type})",
            "licenses are bound to the machine ID, and after the next start there is another one",
            "make /etc writable and run 'systemd-machine-id-setup --commit', or boot with systemd.machine_id=",
        )
    if mount.fs_type == "overlay" and not is_mounted_alone:
        return Finding(
            "machine",
            "warning",
            "machine_id_of_image",
            f"{machine.source} lies on an overlay, as on a system that boots from an image",
            "where the upper layer is in memory, every start has the image's ID again, and other machines have it, too",
            "check that the ID stays across a restart: 'weightlock request --prove', before and after",
        )
    return None
