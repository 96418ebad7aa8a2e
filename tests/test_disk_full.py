"""A full disk, a read-only one and forbidden directories: a clear error, nothing left, and nothing lost."""

import os
import shutil
from pathlib import Path

import pytest

from licensing.vendor_home import VendorHome
from tests.command_line import as_process, here, obeying_modes
from tests.forked import forked
from tests.small_disk import SmallDisk
from tests.story import Story, unchanged
from tests.strace import stopped
from tests.vendor_desk import Desk

# Whole processes, one after another: left out of the checks before each commit.
pytestmark = pytest.mark.slow

STORAGE_FULL = (1, "storage_full")


def test_encrypting_onto_a_full_disk_leaves_nothing(desk: Desk, small_disk: SmallDisk) -> None:
    small_disk.fill(leave=1_500_000)  # The first segment fits, and the second does not.
    original = desk.model.read_bytes()
    here(*desk.encrypt(small_disk.path / "net.locked", "--json")).refused(*STORAGE_FULL)
    assert os.listdir(small_disk.path) == ["filler"]
    assert desk.records() == (1, 0)
    desk.check_registry()
    assert desk.model.read_bytes() == original
    small_disk.free()
    here(*desk.encrypt(small_disk.path / "net.locked")).done()
    desk.check_locked(small_disk.path / "net.locked")


def test_replacing_on_a_full_disk_keeps_the_old_model(desk: Desk, small_disk: SmallDisk) -> None:
    old = Path(shutil.copy(desk.locked, small_disk.path / "net.locked"))
    small_disk.fill(leave=1_500_000)
    here(*desk.encrypt(old, "--force", "--json")).refused(*STORAGE_FULL)
    assert sorted(os.listdir(small_disk.path)) == ["filler", "net.locked"]
    desk.check_locked(old)
    assert desk.records() == (1, 0)


def test_license_that_does_not_fit_on_the_disk_can_be_written_later(
    desk: Desk, small_disk: SmallDisk, tmp_path: Path
) -> None:
    small_disk.fill()
    here(*desk.issue(small_disk.path / "acme.lic", "--json")).refused(*STORAGE_FULL)
    assert os.listdir(small_disk.path) == ["filler"]
    desk.check_registry()
    (record,) = VendorHome.open(desk.home).licenses()
    here("licenses", "--export", record.license_id, "-o", tmp_path / "acme.lic", "--home", desk.home).done()
    desk.check_license(tmp_path / "acme.lic")


@pytest.mark.parametrize("command", ["encrypt", "issue"])
def test_full_disk_under_the_vendors_home_stops_before_there_is_a_file(
    command: str, desk: Desk, small_disk: SmallDisk, tmp_path: Path
) -> None:
    shutil.copytree(desk.home, small_disk.path / "vendor")
    moved = Desk(small_disk.path_inside / "vendor", desk.model, desk.locked, desk.request)
    arguments = moved.encrypt(tmp_path / "output") if command == "encrypt" else moved.issue(tmp_path / "output")
    small_disk.fill()
    as_process(*arguments, "--json", prefix=small_disk.enter).refused(*STORAGE_FULL)
    assert os.listdir(tmp_path) == ["desk"]
    copied = Desk(tmp_path / "copied", desk.model, desk.locked, desk.request)
    shutil.copytree(small_disk.path / "vendor", copied.home)
    assert copied.records() == (1, 0)
    copied.check_registry()
    small_disk.free()
    as_process(*arguments, prefix=small_disk.enter).done()


def test_vendors_home_that_did_not_fit_can_be_made_later(small_disk: SmallDisk) -> None:
    arguments = ("vendor", "init", "--name", "Löwe AI", "--home", small_disk.path_inside / "vendor")
    small_disk.fill(leave=20_000)  # Some of its files fit.
    as_process(*arguments, "--json", prefix=small_disk.enter).refused(*STORAGE_FULL)
    small_disk.free()
    as_process(*arguments, prefix=small_disk.enter).done()


@pytest.mark.parametrize("place", ["output", "home"])
def test_request_on_a_full_disk_leaves_no_half_device_key(place: str, small_disk: SmallDisk, tmp_path: Path) -> None:
    output = small_disk.path / "box.req" if place == "output" else tmp_path / "box.req"
    home = small_disk.path / "customer" if place == "home" else tmp_path / "customer"
    arguments = ("request", "--gpu", "none", "-o", output, "--home", home)
    small_disk.fill()
    here(*arguments, "--json").refused(*STORAGE_FULL)
    assert not output.exists()
    assert place == "output" or os.listdir(small_disk.path) == ["filler"] or os.listdir(home) == []
    small_disk.free()
    here(*arguments).done()


def test_decrypting_onto_a_full_disk_leaves_nothing(story: Story, small_disk: SmallDisk) -> None:
    small_disk.fill(leave=4096)
    for locked in (story.locked, story.locked_folder):
        outcome = here("decrypt", locked, "-o", small_disk.path / "plain", "--home", story.vendor, "--json")
        outcome.refused(*STORAGE_FULL)
        assert os.listdir(small_disk.path) == ["filler"]


def test_running_with_the_output_on_a_full_disk_leaves_nothing(story: Story, small_disk: SmallDisk) -> None:
    small_disk.fill()
    here(*story.run(small_disk.path / "y.npz", "--json")).refused(*STORAGE_FULL)
    assert os.listdir(small_disk.path) == ["filler"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "call", "reason"),
    [
        ("ENOSPC", "pwrite64", "storage_full"),
        ("ENOSPC", "fsync", "storage_full"),
        ("ENOSPC", "linkat", "storage_full"),
        # SQLite does not say of a flush why it failed.
        ("ENOSPC", "fdatasync", "storage_failed"),
        ("EIO", "fsync", "storage_failed"),
    ],
)
def test_whatever_write_of_encryption_fails_nothing_is_left(
    error: str, call: str, reason: str, desk: Desk, tmp_path: Path
) -> None:
    arguments = lambda output: desk.encrypt(output, "--json")  # noqa: E731
    for output, outcome in stopped(f"error={error}", call, arguments, tmp_path):
        if outcome.code != 0:
            outcome.refused(1, reason)
            assert os.listdir(output.parent) == []
            assert desk.records() == (1, 0)
        desk.check_registry()
    desk.check_works(output.parent)


def outputs(desk: Desk, story: Story, folder: Path) -> dict[str, tuple[str | Path, ...]]:
    """Returns each command that writes a file, writing it into a folder."""
    return {
        "encrypt": desk.encrypt(folder / "output"),
        "issue": desk.issue(folder / "output"),
        "decrypt": ("decrypt", desk.locked, "-o", folder / "output", "--home", desk.home),
        "decrypt folder": ("decrypt", story.locked_folder, "-o", folder / "output", "--home", story.vendor),
        "request": ("request", "--gpu", "none", "-o", folder / "output", "--home", desk.home.parent / "customer"),
        "run": story.run(folder / "output"),
        "vendor init": ("vendor", "init", "--name", "Löwe AI", "--home", folder / "output"),
    }


COMMANDS = ["encrypt", "issue", "decrypt", "decrypt folder", "request", "run", "vendor init"]


@pytest.mark.parametrize("command", COMMANDS)
def test_output_in_a_read_only_file_system_is_refused(
    command: str, desk: Desk, story: Story, small_disk: SmallDisk
) -> None:
    small_disk.make_read_only()
    sentence = here(*outputs(desk, story, small_disk.path)[command], "--json").refused(1, "storage_failed")
    assert "read-only file system" in sentence
    desk.check_registry()
    assert desk.records()[0] == 1


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_output_in_a_forbidden_directory_is_refused(command: str, desk: Desk, story: Story, tmp_path: Path) -> None:
    folder = tmp_path / "forbidden"
    folder.mkdir(mode=0o555)
    arguments = (*outputs(desk, story, folder)[command], "--json")
    sentence = forked(*arguments, prefix=obeying_modes()).refused(1, "storage_failed")
    assert "permission denied" in sentence
    assert os.listdir(folder) == []
    desk.check_registry()
    assert desk.records()[0] == 1


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "vendor init"])
def test_output_in_a_directory_that_is_not_there_is_refused(
    command: str, desk: Desk, story: Story, tmp_path: Path
) -> None:
    with unchanged(tmp_path):
        here(*outputs(desk, story, tmp_path / "missing")[command], "--json").refused(1, "storage_failed")


def test_locked_model_runs_where_everything_is_read_only(story: Story, small_disk: SmallDisk, tmp_path: Path) -> None:
    moved = story.copied(small_disk.path / "story")
    small_disk.make_read_only()
    here(*moved.run(tmp_path / "y.npz")).done()
    here("status", moved.license, "--home", moved.customer).done()


def test_records_can_be_read_where_everything_is_read_only(desk: Desk, small_disk: SmallDisk) -> None:
    shutil.copytree(desk.home, small_disk.path / "vendor")
    small_disk.make_read_only()
    home = small_disk.path_inside / "vendor"
    facts = as_process("models", "--home", home, "--json", prefix=small_disk.enter).done().facts
    assert len(facts["models"]) == 1
    moved = Desk(home, desk.model, desk.locked, desk.request)
    for arguments in (moved.encrypt(desk.model.with_name("new.locked")), moved.issue(desk.model.with_name("new.lic"))):
        as_process(*arguments, "--json", prefix=small_disk.enter).refused(1, "storage_failed")
        assert not desk.model.with_name("new.locked").exists()
        assert not desk.model.with_name("new.lic").exists()
