"""What a process runs in: mounts, containers, virtual machines, and which start this is."""

from pathlib import Path

import pytest

from licensing.surroundings import Mount, System
from tests.fake_system import BOOT, SystemBuilder, mount_line

CONTAINER_ID = "507bd644ac20cc803a1eef9f35c28ac7" * 2


@pytest.fixture
def builder(tmp_path: Path) -> SystemBuilder:
    return SystemBuilder(tmp_path)


# Mounts.


def test_a_line_of_mountinfo(builder: SystemBuilder) -> None:
    """The first is the example of proc_pid_mountinfo(5); blanks are written as octal numbers."""
    lines = (
        "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
        r"37 36 0:9 / /mnt2/with\040blank ro - tmpfs a\134b rw,size=4k",
        "broken",
        "",
        "38 36 0:9 / /short ro",
    )
    assert builder.build(mounts=lines).mounts() == [
        Mount("/mnt2", "ext3", "/mnt1", "/dev/root", ("rw", "noatime", "rw", "errors=continue")),
        Mount("/mnt2/with blank", "tmpfs", "/", "a\\b", ("ro", "rw", "size=4k")),
    ]


def test_a_path_lies_in_the_innermost_mount_and_of_two_in_the_later_one(builder: SystemBuilder) -> None:
    points = ("/", "/data", "/data", "/data/home", "/database")
    system = builder.build(mounts=[mount_line(point, f"fs{number}") for number, point in enumerate(points)])

    def type_of(path: str) -> str:
        mount = system.mount_of(system.place(path))
        assert mount is not None
        return mount.fs_type

    assert [type_of(path) for path in ("/", "/data/x", "/data/home", "/data/home/x", "/data/homes", "/database")] == [
        *("fs0", "fs2", "fs3", "fs3", "fs2", "fs4")
    ]


def test_a_link_lies_where_it_leads(builder: SystemBuilder) -> None:
    system = builder.build({"/etc/machine-id": "x"}, [mount_line("/"), mount_line("/etc/machine-id", "xfs")])
    link = system.place("/var/lib/dbus/machine-id")
    link.parent.mkdir(parents=True)
    link.symlink_to("../../../etc/machine-id")
    mount = system.mount_of(link)
    assert mount is not None
    assert mount.fs_type == "xfs"


def test_the_mounts_of_this_process() -> None:
    system = System()
    mount = system.mount_of(Path("/proc/self/status"))
    assert mount is not None
    assert (mount.fs_type, mount.point) == ("proc", "/proc")
    assert any(mount.point == "/" for mount in system.mounts())


# Containers and virtual machines.


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("/.dockerenv", "", "Docker"),
        ("/run/.containerenv", "", "Podman"),
        ("/run/host/container-manager", "systemd-nspawn", "a container manager"),
        ("/.singularity.d/runscript", "", "Apptainer"),
        ("/var/run/secrets/kubernetes.io/serviceaccount/token", "", "Kubernetes"),
        ("/proc/1/cgroup", f"12:cpu:/docker/{CONTAINER_ID}", "docker"),
        ("/proc/self/cgroup", "0::/kubepods.slice/kubepods-besteffort.slice/x", "kubepods"),
        ("/proc/self/cgroup", f"0::/machine.slice/libpod-{CONTAINER_ID}.scope/container", "libpod"),
        ("/proc/1/cgroup", "0::/lxc.payload.web/init.scope", "lxc"),
        ("/proc/1/environ", "PATH=/bin\0container=oci\0HOME=/", "oci"),
    ],
)
def test_signs_of_a_container(path: str, text: str, kind: str, builder: SystemBuilder) -> None:
    found = builder.build({path: text}).container()
    assert found is not None
    assert found.startswith(f"{kind}, by ")


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"/proc/1/cgroup": "0::/init.scope", "/proc/self/cgroup": "0::/user.slice/user-1000.slice/session-2.scope"},
        {"/proc/self/cgroup": "0::/system.slice/docker.service"},
        {"/proc/1/environ": "HOME=/\0mycontainer=1\0"},
    ],
)
def test_no_container(files: dict[str, str], builder: SystemBuilder) -> None:
    assert builder.build(files).container() is None


FLAG = {"/proc/cpuinfo": "flags\t\t: fpu hypervisor vme\n"}


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (FLAG, "an unknown hypervisor"),
        ({**FLAG, "/sys/class/dmi/id/sys_vendor": "QEMU"}, "QEMU"),
        ({**FLAG, "/sys/class/dmi/id/product_name": "Google Compute Engine"}, "Google Compute Engine"),
        ({**FLAG, "/sys/class/dmi/id/product_name": "Virtual Machine"}, "Hyper-V"),
        ({"/sys/hypervisor/type": "xen"}, "xen"),
        ({}, None),
        ({"/sys/class/dmi/id/sys_vendor": "Amazon EC2"}, None),  # A bare machine of that cloud.
        ({"/proc/cpuinfo": "flags\t\t: fpu\nmodel name: hypervisor\n"}, None),
    ],
)
def test_virtual_machines(files: dict[str, str], kind: str | None, builder: SystemBuilder) -> None:
    assert builder.build(files).hypervisor() == kind


# Starts.


def test_the_start_stays_the_same_until_the_next_one(builder: SystemBuilder) -> None:
    first, again = builder.build().start(), builder.build().start()
    assert first is not None
    assert (first, first.boot, first.container) == (again, BOOT, None)
    other_boot = builder.build({"/proc/sys/kernel/random/boot_id": BOOT.replace("b2", "a1")}).start()
    other_beginning = builder.build({"/proc/1/stat": "1 (init) S " + " ".join(["7"] * 49)}).start()
    assert other_boot is not None
    assert other_beginning is not None
    assert len({each.identity for each in (first, other_boot, other_beginning)}) == 3
    assert other_beginning.boot == first.boot


def test_a_name_of_process_1_with_brackets_and_blanks_changes_nothing(builder: SystemBuilder) -> None:
    fields = "S " + " ".join(str(number) for number in range(4, 53))
    starts = {builder.build({"/proc/1/stat": f"1 ({name}) {fields}"}).start() for name in ("a", "b) S 1 (", "c d")}
    assert len(starts) == 1


def test_a_container_that_starts_again_is_the_same_one(builder: SystemBuilder) -> None:
    first = builder.container().start()
    again = builder.container({"/proc/1/stat": "1 (sh) S " + " ".join(["7"] * 49)}).start()
    assert first is not None
    assert again is not None
    assert (first.container, first.boot) == (again.container, again.boot)
    assert first.container is not None
    assert first.identity != again.identity


def test_another_container_is_another_start(builder: SystemBuilder) -> None:
    first, other = builder.container().start(), builder.container(layer="/another/diff").start()
    assert first is not None
    assert other is not None
    assert first.container != other.container
    assert first.identity != other.identity


@pytest.mark.parametrize("path", ["/proc/self/cgroup", "/proc/self/mountinfo"])
def test_a_container_without_an_overlay_is_known_by_its_id(path: str, builder: SystemBuilder) -> None:
    def of(container_id: str) -> str | None:
        lines = {
            "/proc/self/cgroup": f"5:memory:/docker/{container_id}",
            "/proc/self/mountinfo": mount_line("/etc/hosts", root=f"/var/lib/docker/containers/{container_id}/hosts"),
        }
        start = builder.build({"/.dockerenv": "", path: lines[path]}).start()
        assert start is not None
        return start.container

    assert of(CONTAINER_ID) == of(CONTAINER_ID)
    assert of(CONTAINER_ID) not in (None, of(CONTAINER_ID[::-1]))
    assert of("no id") is None


@pytest.mark.parametrize("boot", ["", "not a boot ID", BOOT.upper()])
def test_without_a_boot_id_no_start_is_known(boot: str, builder: SystemBuilder) -> None:
    assert builder.build({"/proc/sys/kernel/random/boot_id": boot}).start() is None


def test_the_start_of_this_system() -> None:
    """The kernel refuses to give such files to a reader who asks for megabytes at once."""
    start = System().start()
    assert start is not None
    assert start == System().start()
    assert start.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_what_cannot_be_read_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    system = System(tmp_path)
    assert (system.mounts(), system.mount_of(tmp_path), system.container(), system.start()) == ([], None, None, None)
    assert (system.hypervisor(), system.text("/nothing"), system.text("a\0b")) == (None, None, None)
    assert system.exists("/a\0b") is False
