"""Input files are regular and bounded, and whatever cannot be read is refused without hanging."""

import os
import resource
from pathlib import Path

import pytest

from licensing.errors import FileAccessError
from licensing.files import read_bounded


def refused(path: str | Path) -> FileAccessError:
    with pytest.raises(FileAccessError) as refusal:
        read_bounded(path, "license", 10)
    return refusal.value


def test_at_most_one_byte_more_than_the_bound_is_read(tmp_path: Path) -> None:
    path = tmp_path / "license"
    for size, expected in ((0, 0), (9, 9), (10, 10), (11, 11), (5000, 11)):
        path.write_bytes(b"x" * size)
        assert read_bounded(path, "license", 10) == b"x" * expected


def test_a_bound_of_gigabytes_takes_no_memory_for_a_small_file(tmp_path: Path) -> None:
    """Python sets as much memory aside as it is asked to read, which a small machine refuses."""
    path = tmp_path / "input.npz"
    path.write_bytes(b"small")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**40 if limits[1] == resource.RLIM_INFINITY else limits[1], limits[1]))
    try:
        assert read_bounded(path, "input", 2**41) == b"small"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_what_cannot_be_read_has_a_reason_and_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    os.symlink("nowhere", tmp_path / "dangling")
    os.symlink("circle", tmp_path / "circle")
    expected = {
        "nowhere": "file_not_found",
        "": "not_a_file",
        "pipe": "not_a_file",
        "dangling": "file_not_found",
        "circle": "file_unreadable",
        "file/inside": "file_unreadable",
        "n" * 300: "file_unreadable",
        "a\0b": "file_unreadable",
    }
    for name, reason in expected.items():
        path = os.path.join(tmp_path, name)
        error = refused(path)
        assert (error.reason, "license" in error.message) == (reason, True), name


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/full", "/dev/tty"])
def test_devices_are_no_files(device: str) -> None:
    """/dev/zero never ends; /dev/tty would wait for somebody to type, and is not there without a terminal."""
    assert refused(device).reason in ("not_a_file", "file_unreadable")


def test_a_file_without_permission(closed_directory: Path) -> None:
    path = closed_directory / "acme.lic"
    error = refused(path)
    assert error.reason == "file_unreadable"
    assert error.message == f"the license {str(path)!r} cannot be read: permission denied"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    before = os.listdir("/proc/self/fd")
    read_bounded(tmp_path / "file", "license", 10)
    for name in ("", "pipe", "nowhere"):
        refused(tmp_path / name)
    assert os.listdir("/proc/self/fd") == before
