"""Reading bounded input files, and writing output files that are whole or not there.

A new file is written to a nameless file beside its target (`O_TMPFILE`), flushed to the disk, and linked to its
name last: a process that is killed leaves nothing. Where the file system knows no nameless files, a temporary
name beside the target takes their place. Without `replace`, linking refuses an existing name atomically, wherever
the file system has links.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from licensing.errors import FileAccessError, OutputExistsError, StorageError

__all__ = [
    "check_output",
    "make_directory",
    "new_file",
    "open_input",
    "read_bounded",
    "storage_error",
    "temporary_name",
    "write_new_file",
]

StrPath = str | os.PathLike[str]


@contextlib.contextmanager
def open_input(path: StrPath, what: str) -> Iterator[BinaryIO]:
    """Gives a regular file to read from.

    Raises:
        FileAccessError: if the file is missing, is not a regular file, or cannot be read.
    """
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to must not hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as cause:
        raise unreadable(path, what, cause) from cause
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise FileAccessError(f"the {what} {os.fspath(path)!r} is not a regular file", reason="not_a_file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    except OSError as cause:
        raise unreadable(path, what, cause) from cause
    finally:
        os.close(descriptor)


def read_bounded(path: StrPath, what: str, max_bytes: int) -> bytes:
    """Returns the content of a regular file; of a longer one, `max_bytes + 1` bytes, for the parser to refuse.

    Raises:
        FileAccessError: as in `open_input`.
    """
    with open_input(path, what) as file:
        # Python sets aside as many bytes as it is asked for, which must not be gigabytes for a small file.
        return file.read(min(max_bytes, os.fstat(file.fileno()).st_size) + 1)


def unreadable(path: StrPath, what: str, cause: Exception) -> FileAccessError:
    """Returns the error for an input file that could not be opened or read."""
    name = os.fspath(path)
    if isinstance(cause, FileNotFoundError):
        return FileAccessError(f"there is no {what} {name!r}", "check the path", reason="file_not_found")
    if isinstance(cause, IsADirectoryError):
        return FileAccessError(f"the {what} {name!r} is a directory, not a file", reason="not_a_file")
    detail = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return FileAccessError(f"the {what} {name!r} cannot be read: {detail.lower()}", reason="file_unreadable")


def check_output(path: StrPath, replace: bool, *inputs: StrPath) -> None:
    """Refuses an output before work on it begins: it exists, is no file, is an input, or has no directory."""
    target = Path(path)
    try:
        status, parent = _status_of(target), _status_of(target.parent)
    except OSError as cause:
        raise storage_error(target, cause) from cause
    if status is not None:
        _check_replaceable(target, status, replace, inputs)
    if parent is None or not stat.S_ISDIR(parent.st_mode):
        raise StorageError(f"there is no directory {str(target.parent)!r} for the output", "make it first")


@contextlib.contextmanager
def new_file(path: StrPath, mode: int = 0o666, replace: bool = False) -> Iterator[int]:
    """Gives a file descriptor to write to; on leaving without an error the file gets its name.

    Args:
        path: the final name.
        mode: the permissions, from which the process's umask is taken.
        replace: whether an existing file may be replaced.

    Raises:
        OutputExistsError: the name is taken and `replace` is false.
        StorageError: the file system refused; nothing is left behind.
    """
    target = Path(path)
    descriptor, temporary = _open_beside(target, mode)
    new_name = False
    try:
        yield descriptor
        os.fsync(descriptor)
        temporary = _publish(descriptor, temporary, target, replace)
        new_name = not replace
        _flush_directory(target.parent)
    except BaseException as cause:
        if new_name:
            with contextlib.suppress(OSError):
                os.unlink(target)
        if isinstance(cause, OSError):
            raise storage_error(target, cause) from cause
        raise
    finally:
        os.close(descriptor)
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_new_file(path: StrPath, data: bytes, mode: int = 0o666, replace: bool = False) -> None:
    """Writes a whole file under its final name or not at all; arguments and errors as in `new_file`."""
    with new_file(path, mode, replace) as descriptor:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Makes a directory and its parents where they are missing.

    Raises:
        StorageError: the file system refused.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as cause:
        raise storage_error(path, cause) from cause


def _status_of(path: Path) -> os.stat_result | None:
    """Returns the status of what a path leads to, of a link that leads nowhere its own, and None for nothing."""
    try:
        return os.stat(path)
    except NotADirectoryError:
        return None
    except FileNotFoundError:
        return os.lstat(path) if os.path.islink(path) else None


def _check_replaceable(target: Path, status: os.stat_result, replace: bool, inputs: tuple[StrPath, ...]) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise OutputExistsError(f"the output {str(target)!r} is a directory", "name a file", reason="not_a_file")
    if any(os.path.exists(source) and os.path.samestat(os.stat(source), status) for source in inputs):
        raise OutputExistsError(
            f"the output {str(target)!r} is the input", "choose another name", reason="output_is_input"
        )
    if not replace:
        raise OutputExistsError(f"the output {str(target)!r} exists already")
    if not stat.S_ISREG(status.st_mode):
        # Replacing goes by renaming, which would put a file where /dev/null was.
        raise OutputExistsError(f"the output {str(target)!r} is not a regular file", "name a file", reason="not_a_file")


def _open_beside(target: Path, mode: int) -> tuple[int, Path | None]:
    if "\0" in target.name:  # Python refuses it too, but with an error of its own, and only when the work is done.
        raise storage_error(target, OSError(errno.EINVAL, os.strerror(errno.EINVAL)))
    try:
        return os.open(target.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode), None
    except OSError as cause:
        if cause.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS):
            raise storage_error(target, cause) from cause
    temporary = temporary_name(target)
    try:
        return os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), temporary
    except OSError as cause:
        raise storage_error(target, cause) from cause


def _publish(descriptor: int, temporary: Path | None, target: Path, replace: bool) -> Path | None:
    """Gives the file its final name; returns the temporary name that is still to be removed, if any."""
    if temporary is None:
        try:
            _link_descriptor(descriptor, target)
            return None
        except FileExistsError as cause:
            if not replace:
                raise _exists(target) from cause
        # A nameless file cannot replace a name directly, so it gets a temporary one first, now that it is whole.
        temporary = temporary_name(target)
        _link_descriptor(descriptor, temporary)
        try:
            os.replace(temporary, target)
        except OSError:
            os.unlink(temporary)
            raise
        return None
    if not replace:
        try:
            os.link(temporary, target)
            return temporary
        except FileExistsError as cause:
            raise _exists(target) from cause
        except OSError as cause:
            # USB sticks with FAT and some network file systems have no links. There, two processes that write the
            # same name at the same moment are not told apart.
            if cause.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            if os.path.lexists(target):
                raise _exists(target) from cause
    os.replace(temporary, target)
    return None


def _exists(target: Path) -> OutputExistsError:
    return OutputExistsError(f"the output {str(target)!r} exists already")


def _link_descriptor(descriptor: int, name: Path) -> None:
    # linkat(2) names this way of giving a nameless file its name; os.link wants a directory descriptor in order
    # to pass AT_SYMLINK_FOLLOW.
    directory = os.open(name.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{descriptor}", name.name, dst_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as cause:
        if cause.errno != errno.EINVAL:  # Some file systems cannot flush a directory; the file itself is safe.
            raise
    finally:
        os.close(descriptor)


def temporary_name(target: Path) -> Path:
    """Returns a name beside a target that nobody else uses."""
    # File systems limit names to 255 bytes, of which one character can take four.
    beginning = os.fsencode(target.name)[:100].decode(errors="ignore")
    return target.with_name(f".{beginning}.{secrets.token_hex(8)}.tmp")


def storage_error(path: Path, cause: OSError) -> StorageError:
    """Returns the error for a file or directory that could not be written."""
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"there is no space left for {str(path)!r}", "free some space and try again", reason="storage_full"
        )
    detail = (cause.strerror or str(cause)).lower()
    return StorageError(f"{str(path)!r} cannot be written: {detail}")
