"""The plaintext model that is to be encrypted: a file or a directory, read in any order, watched for changes."""

import bisect
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptors.errors import ModelMalformedError, ModelSourceError
from cryptors.index import ALIGNMENT, MAX_FILES, Index, build_index
from licensing.errors import FileAccessError
from licensing.files import unreadable

__all__ = ["ModelSource", "scan_source"]

StrPath = str | os.PathLike[str]

_ZEROS = bytes(ALIGNMENT)


@dataclass(frozen=True)
class _State:
    """What tells that a file was changed or replaced."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "_State":
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class ModelSource:
    """The files of a model, laid out as a container's plaintext.

    Args:
        files: where each path of the model is on disk.
        directory: whether the model is a directory.
        entry: the file that a framework begins with.

    Raises:
        FileAccessError: a file is missing, special, or cannot be read.
        ModelSourceError: a path that a container cannot hold.
    """

    def __init__(self, files: dict[str, Path], directory: bool, entry: str | None = None) -> None:
        self._paths = files
        self._states = {path: _state_of(location) for path, location in files.items()}
        sizes = {path: state.size for path, state in self._states.items()}
        try:
            self.index: Index = build_index(sizes, directory, entry)
        except ModelMalformedError as cause:
            raise ModelSourceError(cause.message) from cause
        self._beginning = self.index.to_bytes()
        self._ends = [file.offset + file.size for file in self.index.files]

    @property
    def locations(self) -> list[Path]:
        """Where the files are on disk."""
        return list(self._paths.values())

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fills memory with the plaintext from `offset` on; safe to call from several threads.

        Raises:
            ModelSourceError: a file changed since it was scanned.
            FileAccessError: a file cannot be read.
        """
        end = offset + len(target)
        position = offset
        if position < len(self._beginning):
            part = self._beginning[position:end]
            target[: len(part)] = part
            position += len(part)
        number = bisect.bisect_right(self._ends, position)
        while position < end:
            file = self.index.files[number]
            if position < file.offset:
                stop = min(end, file.offset)
                target[position - offset : stop - offset] = _ZEROS[: stop - position]
            else:
                stop = min(end, self._ends[number])
                self._read_file(file.path, position - file.offset, target[position - offset : stop - offset])
                number += 1
            position = stop

    def check_unchanged(self) -> None:
        """Refuses if any file was changed, replaced or removed since it was scanned.

        Raises:
            ModelSourceError: naming the file.
        """
        for path, location in self._paths.items():
            try:
                unchanged = _State.of(os.stat(location)) == self._states[path]
            except OSError:
                unchanged = False
            if not unchanged:
                raise _changed(location)

    def _read_file(self, path: str, position: int, target: memoryview) -> None:
        location = self._paths[path]
        try:
            # O_NONBLOCK: a pipe that took the file's place must not hang.
            descriptor = os.open(location, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as cause:
            raise unreadable(location, "model file", cause) from cause
        try:
            if _State.of(os.fstat(descriptor)) != self._states[path]:
                raise _changed(location)
            while target:
                count = os.preadv(descriptor, [target], position)
                if count == 0:
                    raise _changed(location)
                target, position = target[count:], position + count
        except OSError as cause:
            raise unreadable(location, "model file", cause) from cause
        finally:
            os.close(descriptor)


def scan_source(model: StrPath) -> dict[str, Path]:
    """Returns the files of a model by their paths inside it: one file by its name, or all files of a directory.

    Symbolic links to files are followed, as model caches use them; links to directories are refused, because
    following them could leave the model or never end.

    Raises:
        FileAccessError: the model is missing or cannot be read.
        ModelSourceError: an empty directory, too many files, or something that is no file.
    """
    root = Path(model)
    if not os.path.isdir(root):
        _state_of(root)
        return {root.name: root}
    files: dict[str, Path] = {}
    for folder, directories, names in os.walk(root, onerror=_raise_unreadable):
        for name in directories:
            if (Path(folder) / name).is_symlink():
                raise ModelSourceError(f"{str(Path(folder) / name)!r} is a link to a directory")
        for name in names:
            location = Path(folder) / name
            files[location.relative_to(root).as_posix()] = location
            if len(files) > MAX_FILES:
                raise ModelSourceError(f"the model has more than {MAX_FILES} files")
    if not files:
        raise ModelSourceError(f"the directory {str(root)!r} is empty")
    return files


def _state_of(location: Path) -> _State:
    try:
        status = os.stat(location)
        if not stat.S_ISREG(status.st_mode):
            raise FileAccessError(f"{str(location)!r} is not a regular file", reason="not_a_file")
        if not os.access(location, os.R_OK):
            raise PermissionError(None, "permission denied")
    except (OSError, ValueError) as cause:
        raise unreadable(location, "model file", cause) from cause
    return _State.of(status)


def _raise_unreadable(cause: OSError) -> None:
    raise unreadable(cause.filename, "model directory", cause) from cause


def _changed(location: Path) -> ModelSourceError:
    return ModelSourceError(f"the model file {str(location)!r} changed while it was encrypted", "encrypt it again")
