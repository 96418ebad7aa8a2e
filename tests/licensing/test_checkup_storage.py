"""The check-up of where the home lies: whether it lasts, can be written, and is this machine's alone."""

import os
from pathlib import Path

import pytest

from licensing.checkup_storage import check_storage, existing_part
from licensing.findings import Finding
from licensing.surroundings import System
from tests.fake_system import SystemBuilder, mount_line
from tests.small_disk import SmallDisk


@pytest.fixture
def builder(tmp_path: Path) -> SystemBuilder:
    return SystemBuilder(tmp_path)


def found(system: System, home: str = "/home/acme", state: str = "/var/state") -> dict[str, Finding]:
    for place in (home, state):
        system.place(place).mkdir(parents=True, exist_ok=True)
    return checked(system, system.place(home), system.place(state))


def checked(system: System, home: Path, state: Path) -> dict[str, Finding]:
    findings = list(check_storage(system, home, state))
    for finding in findings:
        assert finding.subject == "storage"
        assert (finding.level == "ok") == (finding.why == "") == (finding.mend == "")
    return {finding.code: finding for finding in findings}


def test_a_home_on_a_disk(builder: SystemBuilder) -> None:
    findings = found(builder.build())
    assert (list(findings), "on ext4" in findings["home"].found) == (["home"], True)


# One that does not last.


@pytest.mark.parametrize("fs_type", ["tmpfs", "ramfs"])
def test_a_home_in_memory(fs_type: str, builder: SystemBuilder) -> None:
    finding = found(builder.build(mounts=[mount_line("/"), mount_line("/home", fs_type)]))["home_volatile"]
    assert (finding.level, f"is in memory ({fs_type} at '/home')" in finding.found) == ("problem", True)


def test_a_home_in_a_containers_own_layer(builder: SystemBuilder) -> None:
    finding = found(builder.container())["home_in_container"]
    assert finding.level == "problem"
    assert "is in the container's own layer (Docker, by /.dockerenv)" in finding.found
    assert finding.mend.startswith("put it on a volume: docker run -v weightlock:")
    unsure = found(builder.build({"/.dockerenv": ""}))["home_in_container"]
    assert (unsure.level, "is perhaps in" in unsure.found) == ("warning", True)


def test_a_home_on_a_volume_of_a_container(builder: SystemBuilder) -> None:
    findings = found(builder.container(mounts=[mount_line("/home/acme", root="/var/lib/docker/volumes/w/_data")]))
    assert {code: finding.level for code, finding in findings.items()} == {"home": "ok", "state_volatile": "note"}


def test_a_home_on_an_overlay_outside_of_containers(builder: SystemBuilder) -> None:
    assert found(builder.build(mounts=[mount_line("/", "overlay")]))["home_on_overlay"].level == "warning"


def test_a_state_directory_that_does_not_last_weakens_and_stops_nothing(builder: SystemBuilder) -> None:
    findings = found(builder.build(mounts=[mount_line("/"), mount_line("/var", "tmpfs")]))
    assert {code: finding.level for code, finding in findings.items()} == {"home": "ok", "state_volatile": "note"}


def test_a_state_directory_in_the_home_cannot_tell_on_it(builder: SystemBuilder) -> None:
    assert found(builder.build(), state="/home/acme/state")["state_in_home"].level == "note"
    assert "state_in_home" not in found(builder.build(), state="/home/acme-state")


# One that others reach.


@pytest.mark.parametrize("fs_type", ["nfs4", "cifs", "9p", "virtiofs", "fuse.rclone", "fuse.sshfs", "ceph"])
def test_a_home_on_a_file_system_that_machines_share(fs_type: str, builder: SystemBuilder) -> None:
    findings = found(builder.build(mounts=[mount_line("/"), mount_line("/home", fs_type)]))
    assert findings["home_shared"].level == "warning"


# One that cannot be written. A missing home is judged by the directory that it would be made in.


def test_a_disk_that_is_nearly_full_or_full(small_disk: SmallDisk, builder: SystemBuilder) -> None:
    system = builder.build()
    home = small_disk.path / "home" / "deeper"
    small_disk.fill(leave=4096 * 200)
    nearly = checked(system, home, small_disk.path)["home_full"]
    assert nearly.level == "warning"
    small_disk.free()
    small_disk.fill()
    full = checked(system, home, small_disk.path)["home_full"]
    assert (full.level, full.found.endswith("0 kB are left")) == ("problem", True)
    assert full.why.startswith("the highest time seen must be stored from time to time")


def test_a_file_system_that_is_read_only(small_disk: SmallDisk, builder: SystemBuilder) -> None:
    small_disk.make_read_only()
    finding = checked(builder.build(), small_disk.path, small_disk.path)["home_read_only"]
    assert (finding.level, "mounted read-only" in finding.found) == ("problem", True)


def test_a_home_that_this_user_may_not_write(closed_directory: Path, builder: SystemBuilder) -> None:
    finding = checked(System(Path("/nowhere")), closed_directory, Path("/"))["home_read_only"]
    assert (finding.level, "this user may not write there" in finding.found) == ("problem", True)


def test_the_part_of_a_path_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert existing_part(tmp_path / "a" / "b") == tmp_path
    assert existing_part(tmp_path) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert existing_part(Path("a/b")) == Path(os.getcwd())
    assert existing_part(Path("/nothing/here")) == Path("/")
