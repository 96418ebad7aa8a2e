"""The archives that `torch.save` writes, read without their storages.

An archive is a zip file: a pickle, and each storage as a record `data/N` that is stored as it is. PyTorch reads one
storage after the other into memory of its own and then asks `map_location` where it belongs. Here it reads from an
`Archive`, which passes over the storages, so that whoever answers `map_location` can put the right memory in place.
"""

import bisect
import io
import struct
import sys
import zipfile
from collections.abc import Callable
from typing import Any

from cryptors.errors import ModelRejectedError
from cryptors.reader import ModelFile

__all__ = ["Archive", "is_archive", "load_archive"]

ReadAt = Callable[[int, memoryview], None]
"""Called with an offset in the file and the memory to fill from there."""

MAGIC = b"PK\x03\x04"
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""A local header of a zip file (APPNOTE.TXT, 4.3.7): signature, and the lengths of the name and the extra field."""


def is_archive(file: ModelFile) -> bool:
    """Tells whether a file is a zip archive as PyTorch tells it: by its first bytes."""
    file.seek(0)
    return file.read(len(MAGIC)) == MAGIC


def load_archive(
    torch: Any, archive: "Archive", place: Callable[[int, int], Any], map_location: Any, weights_only: bool
) -> Any:
    """Returns what `torch.load` returns, with storages from elsewhere.

    Args:
        torch: the module.
        archive: what to load.
        place: called with the offset of a storage in the file and its length in bytes; returns an untyped storage that
            holds these bytes.
        map_location: as in `torch.load`; applied to what `place` returns.
        weights_only: as in `torch.load`.

    Raises:
        Exception: whatever `torch.load` and `place` raise.
    """

    def locate(storage: Any, location: str) -> Any:
        offset = archive.take_passed()
        if offset is not None:
            storage = place(offset, storage.nbytes())
        return _restore(torch, storage, location, map_location)

    loaded = torch.load(archive, map_location=locate, weights_only=weights_only, mmap=False)
    archive.check_all_taken()
    return loaded


class Archive(io.RawIOBase):
    """An archive as a file for `torch.load`, which leaves the memory for storages as it is.

    Args:
        read_at: reads the file.
        size: its length in bytes.

    Raises:
        zipfile.BadZipFile: it is no zip archive.
    """

    def __init__(self, read_at: ReadAt, size: int) -> None:
        self._read_at = read_at
        self._size = size
        self._position = 0
        self._passed: int | None = None
        self._records: list[zipfile.ZipInfo] = []
        with zipfile.ZipFile(self) as directory:
            members = {member.filename.partition("/")[2]: member for member in directory.infolist()}
            byte_order = members.get("byteorder")
            self._byte_order = None if byte_order is None else directory.read(byte_order)[:8].decode("ascii", "replace")
        storages = [member for name, member in members.items() if name.startswith("data/")]
        self._records = sorted(storages, key=lambda member: member.header_offset)
        self._position = 0

    def read_from(self, view: memoryview) -> None:
        """Reads from memory that holds the whole file, from now on."""

        def read_at(offset: int, target: memoryview) -> None:
            target[:] = view[offset : offset + len(target)]

        self._read_at = read_at

    def is_native(self, torch: Any) -> bool:
        """Tells whether storages can be used as they are: they have this machine's byte order."""
        if self._byte_order is None:  # Before PyTorch 2.1.
            serialization = torch.serialization
            return bool(serialization.get_default_load_endianness() != serialization.LoadEndianness.BIG)
        return bool(self._byte_order == sys.byteorder)

    def take_passed(self) -> int | None:
        """Returns the offset of the storage that was passed over last, once; None if none was."""
        offset, self._passed = self._passed, None
        return offset

    def check_all_taken(self) -> None:
        """Refuses to go on if a storage was passed over that nobody took: what was read would not be the data.

        Raises:
            ModelRejectedError: this version of PyTorch does not load as the others do.
        """
        if self._passed is not None:
            raise ModelRejectedError("this version of PyTorch reads archives in a way that is not known")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if self._position < 0:
            raise ValueError("negative position")
        return self._position

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        target = target[: max(0, self._size - self._position)]
        self.check_all_taken()
        if self.storage_at(self._position, len(target)):
            self._passed = self._position
        else:
            self._read_at(self._position, target)
        self._position += len(target)
        return len(target)

    def storage_at(self, offset: int, length: int) -> bool:
        """Tells whether this part of the file is exactly one storage, by the directory and its local header."""
        number = bisect.bisect_left(self._records, offset, key=lambda member: member.header_offset) - 1
        if number < 0:
            return False
        record = self._records[number]
        if record.file_size != length or record.compress_type != zipfile.ZIP_STORED or not length:
            return False
        # A directory can place a record anywhere.
        if not 0 <= record.header_offset <= self._size - LOCAL_HEADER.size:
            return False
        header = bytearray(LOCAL_HEADER.size)
        self._read_at(record.header_offset, memoryview(header))
        signature, name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)
        data = record.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes
        return bool(signature == MAGIC and offset == data)


def _restore(torch: Any, storage: Any, location: str, map_location: Any) -> Any:
    """Does with a storage what `torch.load` does for `map_location`, in each of its forms."""
    default = torch.serialization.default_restore_location
    if map_location is None:
        return default(storage, location)
    if isinstance(map_location, dict):
        return default(storage, map_location.get(location, location))
    if isinstance(map_location, (str, torch.device)):
        return default(storage, str(map_location))
    restored = map_location(storage, location)
    return default(storage, location) if restored is None else restored
