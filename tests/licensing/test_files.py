"""Output files are whole or not there, and never replace what they must not."""

import errno
import multiprocessing
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from licensing.errors import LicensingError, StorageError
from licensing.files import check_output, make_directory, new_file, write_new_file


@pytest.fixture(params=["nameless", "named"])
def kind_of_temporary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test with nameless temporary files, and as on a file system that knows none."""
    if request.param == "named":
        refuse_nameless_files(monkeypatch, errno.EOPNOTSUPP)
    return str(request.param)


def refuse_nameless_files(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def open_named_only(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(code, os.strerror(code))
        return real_open(path, flags, *rest, **options)

    real_open = os.open
    monkeypatch.setattr(os, "open", open_named_only)


def refused(call: Callable[[], object]) -> LicensingError:
    with pytest.raises(LicensingError) as refusal:
        call()
    return refusal.value


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


@pytest.mark.usefixtures("kind_of_temporary")
def test_a_file_is_written_whole(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    write_new_file(tmp_path / "out", data)
    assert (tmp_path / "out").read_bytes() == data
    assert names(tmp_path) == ["out"]


@pytest.mark.usefixtures("kind_of_temporary")
def test_a_file_that_is_there_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"precious")
    error = refused(lambda: write_new_file(path, b"new"))
    assert (error.reason, path.read_bytes()) == ("output_exists", b"precious")
    write_new_file(path, b"new", replace=True)
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["out"])
    write_new_file(tmp_path / "another", b"new", replace=True)
    assert (tmp_path / "another").read_bytes() == b"new"


@pytest.mark.usefixtures("kind_of_temporary")
def test_a_name_that_is_taken_while_the_file_is_written_is_refused(tmp_path: Path) -> None:
    """The check is the naming itself, so that two processes cannot both believe that they were first."""
    path = tmp_path / "out"

    def write() -> None:
        with new_file(path) as descriptor:
            os.write(descriptor, b"mine")
            path.write_bytes(b"theirs")

    assert refused(write).reason == "output_exists"
    assert (path.read_bytes(), names(tmp_path)) == (b"theirs", ["out"])


@pytest.mark.usefixtures("kind_of_temporary")
def test_a_link_in_the_place_of_the_output_is_not_followed(tmp_path: Path) -> None:
    """Neither a link to a file of somebody else nor one that leads nowhere."""
    (tmp_path / "precious").write_bytes(b"precious")
    for target in ("precious", "nowhere"):
        os.symlink(target, tmp_path / "out")
        assert refused(lambda: write_new_file(tmp_path / "out", b"new")).reason == "output_exists"
        write_new_file(tmp_path / "out", b"new", replace=True)
        assert ((tmp_path / "precious").read_bytes(), (tmp_path / "out").read_bytes()) == (b"precious", b"new")
        assert not (tmp_path / "out").is_symlink()
        (tmp_path / "out").unlink()
    assert names(tmp_path) == ["precious"]


@pytest.mark.usefixtures("kind_of_temporary")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("replace", [False, True])
def test_an_error_while_writing_leaves_things_as_they_were(
    error: type[BaseException], replace: bool, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    if replace:
        path.write_bytes(b"precious")

    def write() -> None:
        with new_file(path, replace=replace) as descriptor:
            os.write(descriptor, b"half")
            raise error

    with pytest.raises(error):
        write()
    assert names(tmp_path) == (["out"] if replace else [])
    assert not replace or path.read_bytes() == b"precious"


@pytest.mark.usefixtures("kind_of_temporary")
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOSPC, "storage_full"),
        (errno.EDQUOT, "storage_full"),
        (errno.EIO, "storage_failed"),
        (errno.EROFS, "storage_failed"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_what_the_file_system_refuses_leaves_nothing(
    call: str, code: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    error = refused(lambda: write_new_file(tmp_path / "out", b"data"))
    assert isinstance(error, StorageError)
    assert (error.reason, names(tmp_path)) == (reason, [])
    assert str(tmp_path / "out") in error.message


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS])
def test_file_systems_without_nameless_files_say_so_in_different_ways(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_nameless_files(monkeypatch, code)
    write_new_file(tmp_path / "out", b"data")
    assert (tmp_path / "out").read_bytes() == b"data"


def write_with_limit(path: Path, queue: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        write_new_file(path, bytes(100_000))
    except StorageError as error:
        queue.put((error.reason, error.message))
    else:
        queue.put("written")


def test_a_real_limit_on_the_length_of_files_leaves_nothing(tmp_path: Path) -> None:
    """The kernel writes up to the limit and then refuses, as a full disk does."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=write_with_limit, args=(tmp_path / "out", queue))
    process.start()
    outcome = queue.get(timeout=60)
    process.join()
    assert outcome == ("storage_failed", f"{str(tmp_path / 'out')!r} cannot be written: file too large")
    assert names(tmp_path) == []


@pytest.mark.usefixtures("kind_of_temporary")
def test_permissions_are_those_asked_for_less_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_new_file(tmp_path / "shared", b"")
        write_new_file(tmp_path / "secret", b"", mode=0o600)
        (tmp_path / "old").write_bytes(b"")
        (tmp_path / "old").chmod(0o666)
        write_new_file(tmp_path / "old", b"", mode=0o600, replace=True)
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in names(tmp_path)}
    assert modes == {"shared": 0o640, "secret": 0o600, "old": 0o600}


def test_a_secret_is_never_readable_by_others_while_it_is_written(tmp_path: Path, kind_of_temporary: str) -> None:
    with new_file(tmp_path / "secret", mode=0o600) as descriptor:
        assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
        assert len(names(tmp_path)) == (1 if kind_of_temporary == "named" else 0)


@pytest.mark.parametrize("name", ["nowhere/out", "file/out", "n" * 256, "a\0b"])
def test_no_file_can_be_made_there(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    for replace in (False, True):
        error = refused(lambda replace=replace: write_new_file(tmp_path / name, b"data", replace=replace))  # type: ignore[misc]
        assert error.reason == "storage_failed"
    assert names(tmp_path) == ["file"]


def test_a_directory_without_permission(closed_directory: Path) -> None:
    error = refused(lambda: write_new_file(closed_directory / "out", b"data"))
    assert (error.reason, error.message.rpartition(": ")[2]) == ("storage_failed", "permission denied")


def test_a_directory_takes_no_file_and_no_temporary_file_stays(tmp_path: Path, kind_of_temporary: str) -> None:
    (tmp_path / "out").mkdir()
    assert refused(lambda: write_new_file(tmp_path / "out", b"data")).reason == "output_exists"
    assert refused(lambda: write_new_file(tmp_path / "out", b"data", replace=True)).reason == "storage_failed"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_links(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Licenses and locked models are carried on USB sticks, whose file system is FAT more often than not."""

    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    refuse_nameless_files(monkeypatch, errno.EOPNOTSUPP)
    monkeypatch.setattr(os, "link", fail)
    path = tmp_path / "acme.lic"
    write_new_file(path, b"first")
    assert refused(lambda: write_new_file(path, b"second")).reason == "output_exists"
    assert path.read_bytes() == b"first"
    write_new_file(path, b"second", replace=True)
    assert (path.read_bytes(), names(tmp_path)) == (b"second", ["acme.lic"])


@pytest.mark.usefixtures("kind_of_temporary")
@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "😀" * 63])
def test_a_very_long_name_gets_a_temporary_one_that_fits(name: str, tmp_path: Path) -> None:
    write_new_file(tmp_path / name, b"data")
    write_new_file(tmp_path / name, b"more", replace=True)
    assert names(tmp_path) == [name]


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = names(Path("/proc/self/fd"))
    write_new_file(tmp_path / "file", b"x")
    refused(lambda: write_new_file(tmp_path / "file", b"y"))
    refused(lambda: write_new_file(tmp_path / "nowhere" / "file", b"y"))
    write_new_file(tmp_path / "file", b"y", replace=True)
    assert names(Path("/proc/self/fd")) == before


# Checks before the work.


def test_an_output_is_checked_before_work_begins(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"")
    (tmp_path / "directory").mkdir()
    os.link(tmp_path / "model", tmp_path / "same file")
    os.symlink("model", tmp_path / "link")
    check_output(tmp_path / "new", False, tmp_path / "model")
    check_output(tmp_path / "model", True, tmp_path / "nowhere")
    expected = [
        ("model", False, "output_exists", []),
        ("model", True, "output_is_input", ["model"]),
        ("model", False, "output_is_input", ["nowhere", "same file"]),
        ("link", True, "output_is_input", ["model"]),
        ("directory", True, "not_a_file", []),
        ("nowhere/out", False, "storage_failed", []),
        ("model/out", False, "storage_failed", []),
    ]
    for name, replace, reason, inputs in expected:
        with pytest.raises(LicensingError) as refusal:
            check_output(tmp_path / name, replace, *(tmp_path / each for each in inputs))
        assert refusal.value.reason == reason, name


def test_directories_are_made_with_their_parents_for_their_owner_alone(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (tmp_path / "file").write_bytes(b"")
    for name in ("file", "file/inside"):
        with pytest.raises(StorageError):
            make_directory(tmp_path / name)
