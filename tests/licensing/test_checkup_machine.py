"""The check-up of the machine ID: each way in which it is missing, changes, or is shared."""

from pathlib import Path

import pytest

from licensing.checkup_machine import check_machine
from licensing.errors import MachineIdUnavailableError
from licensing.findings import Finding
from licensing.machine import Machine, read_machine
from licensing.surroundings import System
from tests.fake_system import SystemBuilder, mount_line

ETC, DBUS = "/etc/machine-id", "/var/lib/dbus/machine-id"
ONE, OTHER = "1" * 32, "2" * 32


@pytest.fixture
def builder(tmp_path: Path) -> SystemBuilder:
    return SystemBuilder(tmp_path)


def found(system: System) -> dict[str, Finding]:
    """Returns the findings by their codes, for what the system's files say."""
    sources = (DBUS, ETC)
    machine: Machine | MachineIdUnavailableError
    try:
        text = next(filter(None, map(system.text, sources)), "")
        real = read_machine(lambda: text, tuple(str(system.place(source)) for source in sources))
        machine = Machine(real.machine_id, next(each for each in sources if str(system.place(each)) == real.source))
    except MachineIdUnavailableError as error:
        machine = error
    findings = list(check_machine(system, machine))
    for finding in findings:
        assert finding.subject == "machine"
        assert (finding.level == "ok") == (finding.why == "")
        assert bool(finding.mend) == bool(finding.why)
        assert ONE not in repr(finding), "a machine ID is not shown"
    return {finding.code: finding for finding in findings}


def test_a_machine_with_an_id_on_its_disk(builder: SystemBuilder) -> None:
    assert [finding.level for finding in found(builder.build({ETC: ONE})).values()] == ["ok"]


# No machine ID.


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "there is no /etc/machine-id"),
        ({ETC: ""}, "/etc/machine-id is empty, as in an image that was never booted"),
        (
            {ETC: "uninitialized"},
            "/etc/machine-id says 'uninitialized': this is an image whose first boot was never completed",
        ),
        ({ETC: "0" * 32}, "/etc/machine-id holds no machine ID: "),
        ({DBUS: "some words", ETC: ONE}, "/var/lib/dbus/machine-id holds no machine ID: "),
    ],
)
def test_no_machine_id(files: dict[str, str], sentence: str, builder: SystemBuilder) -> None:
    finding = found(builder.build(files))["machine_id_unavailable"]
    assert (finding.level, finding.found.startswith(sentence)) == ("problem", True)
    assert "systemd-machine-id-setup" in finding.mend


def test_a_container_without_a_machine_id_is_to_be_given_the_hosts(builder: SystemBuilder) -> None:
    mend = found(builder.container())["machine_id_unavailable"].mend
    assert "docker run -v /etc/machine-id:/etc/machine-id:ro" in mend
    assert "systemd-machine-id-setup" not in mend


# One that does not stay.


def test_an_id_of_a_containers_image(builder: SystemBuilder) -> None:
    finding = found(builder.container({ETC: ONE}))["machine_id_of_image"]
    assert finding.level == "problem"
    assert finding.found == "this is a container (Docker, by /.dockerenv), and /etc/machine-id belongs to its image"
    assert "docker run -v /etc/machine-id:/etc/machine-id:ro" in finding.mend


def test_a_container_on_another_kind_of_layer_is_not_told_for_certain(builder: SystemBuilder) -> None:
    """Docker's other storage drivers show a file system as a machine has it; and so does a machine made of an image."""
    finding = found(builder.build({ETC: ONE, "/.dockerenv": ""}))["machine_id_of_image"]
    assert (finding.level, "looks like a container" in finding.found) == ("warning", True)


def test_the_hosts_id_in_a_container(builder: SystemBuilder) -> None:
    system = builder.container({ETC: ONE}, [mount_line(ETC, "ext4", root="/etc/machine-id")])
    assert list(found(system)) == ["machine_id"]


def test_the_hosts_id_beside_the_images_own_which_comes_first(builder: SystemBuilder) -> None:
    """An image with D-Bus has an ID there, and mounting the other file changes nothing."""
    findings = found(builder.container({ETC: ONE, DBUS: OTHER}, [mount_line(ETC)]))
    assert findings["machine_id_of_image"].level == "problem"
    assert f"and {DBUS}, which counts before it" in findings["machine_id_of_image"].mend
    assert findings["machine_ids_differ"].level == "warning"


def test_two_ids(builder: SystemBuilder) -> None:
    finding = found(builder.build({ETC: ONE, DBUS: OTHER}))["machine_ids_differ"]
    assert (finding.level, finding.found) == (
        "warning",
        f"{DBUS} and {ETC} hold two different IDs; the first one counts",
    )
    assert list(found(builder.build({ETC: ONE, DBUS: ONE}))) == ["machine_id"]


def test_an_id_that_systemd_made_for_this_boot(builder: SystemBuilder) -> None:
    """Where /etc cannot be written, systemd mounts a file in memory over it (machine-id(5))."""
    finding = found(builder.build({ETC: ONE}, [mount_line("/"), mount_line(ETC, "tmpfs")]))["machine_id_transient"]
    assert (finding.level, "systemd-machine-id-setup --commit" in finding.mend) == ("problem", True)
    in_container = found(builder.container({ETC: ONE}, [mount_line(ETC, "tmpfs")]))["machine_id_transient"]
    assert in_container.level == "warning", "it may be a secret of Kubernetes', which stays"


@pytest.mark.parametrize("fs_type", ["tmpfs", "ramfs", "rootfs"])
def test_a_system_that_lives_in_memory(fs_type: str, builder: SystemBuilder) -> None:
    assert found(builder.build({ETC: ONE}, [mount_line("/", fs_type)]))["machine_id_transient"].level == "problem"


def test_a_system_that_boots_from_an_image(builder: SystemBuilder) -> None:
    finding = found(builder.build({ETC: ONE}, [mount_line("/", "overlay")]))["machine_id_of_image"]
    assert (finding.level, "request --prove" in finding.mend) == ("warning", True)


# One that others have, too.


def test_a_virtual_machine_may_have_clones(builder: SystemBuilder) -> None:
    finding = found(builder.build({ETC: ONE, "/proc/cpuinfo": "flags\t: hypervisor\n"}))["virtual_machine"]
    assert (finding.level, "clones of it share its machine ID" in finding.why) == ("note", True)
