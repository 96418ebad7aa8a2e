"""Keras archives (`.keras`): a zip file whose members Keras reads without copying any of them to a file system."""

import contextlib
import io
import shutil
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, BinaryIO, cast

from cryptors.errors import ModelRejectedError
from cryptors.memory import PlaintextFile
from licensing.files import storage_error

__all__ = ["WEIGHTS", "KerasArchive", "is_damaged"]

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
ASSETS = "assets"
COPY_BYTES = 16 * 1024 * 1024
_LOCAL_HEADER = struct.Struct("<26xHH")
"""What stands in front of each member: 26 bytes that the directory repeats, and the lengths of two fields behind it."""


class KerasArchive:
    """A `.keras` archive that is open for reading.

    Args:
        file: seekable and readable; it stays open.

    Attributes:
        config: the model's configuration.

    Raises:
        ModelRejectedError: it is not what Keras writes.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._zip = zipfile.ZipFile(file)
        self._closing = contextlib.ExitStack()
        self._closing.enter_context(self._zip)
        names = set(self._zip.namelist())
        if missing := {CONFIG, WEIGHTS} - names:
            raise ModelRejectedError(f"the Keras archive lacks {min(missing)!r}")
        self.config = self._zip.read(CONFIG)
        self._assets = [name for name in names if name.startswith(f"{ASSETS}/") and not name.endswith("/")]

    def open(self, name: str, mode: str = "r") -> io.RawIOBase:
        """Opens a member, as Keras asks an archive to; unlike those of `zipfile`, what it returns is quick to seek.

        Keras stores members as they are, so that reading one is reading a part of the file. A member that somebody
        compressed afterwards is unpacked into memory.
        """
        member = self._zip.getinfo(name)
        if member.compress_type != zipfile.ZIP_STORED:
            return self._closing.enter_context(io.FileIO(self._unpacked(member).path))
        self._file.seek(member.header_offset)
        lengths = _LOCAL_HEADER.unpack(self._file.read(_LOCAL_HEADER.size))
        return _Part(self._file, member.header_offset + _LOCAL_HEADER.size + sum(lengths), member.file_size)

    def asset_folder(self) -> str | None:
        """Returns a private directory with links to memory files that hold the archive's assets; None if it has none.

        Layers open their assets, such as vocabularies, by path. Keras would unpack the whole archive for them.

        Raises:
            StorageError: there is no temporary directory to write to.
            ModelRejectedError: a member's name would lead out of the directory.
        """
        if not self._assets:
            return None
        try:
            folder = Path(tempfile.mkdtemp(prefix="weightlock-"))
        except OSError as cause:
            raise storage_error(Path(tempfile.gettempdir()), cause) from cause
        self._closing.callback(shutil.rmtree, folder, ignore_errors=True)
        for name in self._assets:
            if ".." in PurePosixPath(name).parts:
                raise ModelRejectedError("a member of the Keras archive has a name that leads out of it")
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            link.symlink_to(self._unpacked(self._zip.getinfo(name)).path)
        return str(folder / ASSETS)

    def close(self) -> None:
        """Removes the directory and gives the memory back."""
        self._closing.close()

    def _unpacked(self, member: zipfile.ZipInfo) -> PlaintextFile:
        memory = self._closing.enter_context(PlaintextFile(member.file_size))
        with cast(io.BufferedIOBase, self._zip.open(member)) as file:
            for start in range(0, member.file_size, COPY_BYTES):
                file.readinto(memory.view[start : start + COPY_BYTES])
        memory.seal()
        return memory

    def __enter__(self) -> "KerasArchive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_damaged(file: BinaryIO) -> bool:
    """Returns whether a member of an archive does not have the checksum that the archive gives it."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is not None
    except zlib.error:
        return True


class _Part(io.RawIOBase):
    """Some bytes of a file, as a file."""

    def __init__(self, file: Any, start: int, size: int) -> None:
        self._file = file
        self._start = start
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")[: max(0, self._size - self._position)]
        self._file.seek(self._start + self._position)
        count: int = self._file.readinto(target)
        self._position += count
        return count
