"""The check-up of the device key: who else can have it, and whether it opens."""

import os
from pathlib import Path

import pytest

from licensing.checkup_device_key import check_device_key
from licensing.device_key import DeviceKey, device_key_path, open_device_key, tpm_device_key_path
from licensing.errors import LicensingError, TpmUnavailableError
from licensing.findings import Finding
from licensing.machine import Machine
from licensing.surroundings import System
from tests.fake_system import SystemBuilder
from tests.lock_scene import MACHINE, OTHER_MACHINE, Scene

TPM = {"/sys/class/tpm/tpm0/tpm_version_major": "2\n"}


class BrokenTpmKey(DeviceKey):
    """A key in a TPM that does not answer."""

    tier = "tpm"

    def unwrap_secret(self, wrapped: bytes) -> bytes:
        raise TpmUnavailableError("the TPM 'device:/dev/tpmrm0' cannot be used: it is gone")

    def authentication_key(self, purpose: str) -> bytes:
        return self.unwrap_secret(b"")


@pytest.fixture
def system(tmp_path: Path) -> System:
    return SystemBuilder(tmp_path / "system").build()


@pytest.fixture
def home(copied_home: Path) -> Path:
    """Returns a home as `weightlock request` leaves it, in directories that nobody else may write to."""
    copied_home.chmod(0o700)
    device_key_path(copied_home).chmod(0o600)
    return copied_home


def opened(home: Path, machine: Machine = MACHINE) -> DeviceKey | LicensingError:
    try:
        return open_device_key(home, machine)
    except LicensingError as error:
        return error


def found(
    system: System, home: Path, key: DeviceKey | LicensingError | None = None, user: int | None = None
) -> dict[str, Finding]:
    findings = list(check_device_key(system, home, key or opened(home), os.geteuid() if user is None else user))
    for finding in findings:
        assert finding.subject == "device key"
        assert finding.level != "ok" or not finding.mend
        assert finding.mend or finding.level == "ok", finding
    return {finding.code: finding for finding in findings}


def test_a_software_key_that_its_owner_alone_can_read(system: System, home: Path) -> None:
    findings = found(system, home)
    assert {code: finding.level for code, finding in findings.items()} == {"device_key": "ok", "tpm_none": "note"}
    assert findings["device_key"].found == "it opens on this machine, in the tier 'software'"


# Whether it opens.


def test_no_device_key_yet(system: System, tmp_path: Path) -> None:
    finding = found(system, tmp_path)["device_key_missing"]
    assert (finding.level, "'weightlock request -o REQUEST' makes one" in finding.mend) == ("note", True)


def test_a_key_of_another_machine(system: System, home: Path) -> None:
    """A system that was installed anew, and a home that came back from a backup."""
    finding = found(system, home, opened(home, OTHER_MACHINE))["device_key_mismatch"]
    assert (finding.level, "does not open on this machine" in finding.found) == ("problem", True)
    assert "'weightlock request --new-device-key'" in finding.mend


def test_two_device_keys(system: System, home: Path) -> None:
    tpm_device_key_path(home).write_bytes(b"{}")
    tpm_device_key_path(home).chmod(0o600)
    assert found(system, home)["device_key_ambiguous"].level == "problem"


def test_a_tpm_that_does_not_answer(system: System, home: Path, lock_scene: Scene) -> None:
    """The key's file says nothing about that: it is asked."""
    key = BrokenTpmKey(lock_scene.box.device_key.public_key)
    assert found(system, home, key)["tpm_unavailable"].level == "problem"


# Who else can have it.


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_key_that_others_can_read(mode: int, system: System, home: Path) -> None:
    device_key_path(home).chmod(mode)
    finding = found(system, home)["device_key_readable"]
    assert (finding.level, f"(mode {mode:04o})" in finding.found) == ("warning", True)
    assert f"chmod 600 {device_key_path(home)}" in finding.mend


def test_an_access_control_list_shows_in_the_mode(system: System, home: Path) -> None:
    """The list gives the user 12345 the right to read: in the kernel's form of it, version 2 (posix_acl_xattr.h)."""
    entries = [
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 4, 12345),
        (0x04, 0, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    ]
    data = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + permissions.to_bytes(2, "little") + who.to_bytes(4, "little")
        for tag, permissions, who in entries
    )
    try:
        os.setxattr(device_key_path(home), "system.posix_acl_access", data)
    except OSError:
        pytest.skip("needs a file system with access control lists")
    assert "device_key_readable" in found(system, home)


def test_a_key_of_another_user(system: System, home: Path) -> None:
    owner = device_key_path(home).stat().st_uid
    assert found(system, home, user=owner + 1)["device_key_owner"].level == "warning"
    assert "device_key_owner" not in found(system, home, user=0), "root may use the homes of others"


def test_a_home_that_others_can_write(system: System, home: Path) -> None:
    home.chmod(0o770)
    finding = found(system, home)["home_writable"]
    assert (finding.level, finding.mend) == ("warning", f"chmod go-w {home}")


def test_a_directory_above_the_home_that_others_can_write(system: System, home: Path) -> None:
    """Whoever can rename the home can put another one in its place; in directories such as /tmp nobody can."""
    home.parent.chmod(0o777)
    assert found(system, home)["home_writable"].mend == f"chmod go-w {home.parent}"
    home.parent.chmod(0o1777)
    assert "home_writable" not in found(system, home)


@pytest.mark.parametrize("mark", [".stfolder", ".git", ".dropbox.cache"])
def test_a_home_that_is_copied_elsewhere(mark: str, system: System, home: Path) -> None:
    (home.parent / mark).mkdir()
    finding = found(system, home)["home_synced"]
    assert (finding.level, repr(str(home.parent)) in finding.found) == ("warning", True)


@pytest.mark.parametrize("name", ["Dropbox", "OneDrive - Acme", "Nextcloud"])
def test_a_home_in_a_directory_that_is_named_like_one_that_is_copied(name: str, system: System, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert found(system, tmp_path / name / "weightlock")["home_synced"].level == "warning"


# The TPM.


def test_a_tpm_that_is_not_used(home: Path, tmp_path: Path) -> None:
    system = SystemBuilder(tmp_path / "other").build({**TPM, "/dev/tpmrm0": ""})
    finding = found(system, home)["tpm_unused"]
    assert finding.level == "note"
    assert finding.mend == "'weightlock request --new-device-key --tpm device:/dev/tpmrm0', and a new license"
    closed = found(SystemBuilder(tmp_path / "closed").build(TPM), home)["tpm_unused"]
    assert "once this user may open /dev/tpmrm0" in closed.mend


def test_a_tpm_1_2_does_not_count(home: Path, tmp_path: Path) -> None:
    system = SystemBuilder(tmp_path / "old").build({"/sys/class/tpm/tpm0/tpm_version_major": "1"})
    assert "tpm_none" in found(system, home)


def test_a_tpm_that_this_user_may_not_open(home: Path, tmp_path: Path, lock_scene: Scene) -> None:
    key = BrokenTpmKey(lock_scene.box.device_key.public_key)
    finding = found(SystemBuilder(tmp_path / "closed").build(TPM), home, key)["tpm_forbidden"]
    assert (finding.level, "--device /dev/tpmrm0" in finding.mend) == ("problem", True)
    system = SystemBuilder(tmp_path / "open").build({**TPM, "/dev/tpmrm0": ""})
    assert found(system, home, key)["tpm"].level == "ok"
