"""The index of a container: which files the plaintext holds, and where. docs/spec/container.md, section "Plaintext".

It is parsed only after it was decrypted and authenticated; it is checked strictly all the same, because the vendor
who made it may have been deceived.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cryptors.errors import ModelMalformedError
from licensing.errors import MalformedError
from licensing.strict_json import Fields, canonical, parse_canonical

__all__ = ["ALIGNMENT", "Index", "IndexedFile", "build_index", "check_paths"]

ALIGNMENT = 4096
MAX_INDEX_BYTES = 16 * 1024 * 1024
MAX_FILES = 65536
MAX_PATH_BYTES = 1024
LENGTH_BYTES = 4


@dataclass(frozen=True)
class IndexedFile:
    """One file: its path inside the model, and where its bytes are in the plaintext."""

    path: str
    offset: int
    size: int


@dataclass(frozen=True)
class Index:
    """The files of a container.

    Attributes:
        directory: whether the model is a directory; otherwise it is one file.
        files: by path in the order of UTF-8 bytes.
        entry: the file that a framework begins with, where there is one to name.
    """

    directory: bool
    files: tuple[IndexedFile, ...]
    entry: str | None = None

    @property
    def plaintext_bytes(self) -> int:
        """Where the last file ends."""
        return self.files[-1].offset + self.files[-1].size

    @property
    def content_bytes(self) -> int:
        """The sizes of all files together."""
        return sum(file.size for file in self.files)

    def to_bytes(self) -> bytes:
        """Returns the index as it stands at the beginning of the plaintext, with its length and its padding."""
        text = _text(self.directory, self.files, self.entry)
        return (len(text).to_bytes(LENGTH_BYTES, "big") + text).ljust(_aligned(LENGTH_BYTES + len(text)), b"\0")

    @classmethod
    def parse(cls, text: bytes, plaintext_bytes: int) -> "Index":
        """Parses the JSON text of an index.

        Args:
            text: the text, without its length and padding.
            plaintext_bytes: the length of the plaintext that it must describe exactly.

        Raises:
            ModelMalformedError: it does not follow the specification.
        """
        try:
            index = _read(
                Fields(parse_canonical(text, "index", MalformedError, MAX_INDEX_BYTES), "index", MalformedError)
            )
        except MalformedError as cause:
            raise ModelMalformedError(f"the locked model's {cause.message.removeprefix('the ')}") from cause
        check_paths([file.path for file in index.files])
        offsets = _place([file.size for file in index.files], LENGTH_BYTES + len(text))
        if [file.offset for file in index.files] != offsets or index.plaintext_bytes != plaintext_bytes:
            raise ModelMalformedError("the locked model's index does not describe its content")
        return index


def build_index(sizes: dict[str, int], directory: bool, entry: str | None = None) -> Index:
    """Lays files out: sorted by path, each at the next multiple of 4096.

    Args:
        sizes: the size of each file in bytes, by path.
        directory: whether the model is a directory.
        entry: the file that a framework begins with.

    Raises:
        ModelMalformedError: a path that a container cannot hold, or too many files.
    """
    check_paths(list(sizes))
    paths = sorted(sizes, key=str.encode)
    # The text's length depends on the digits of the offsets, which depend on its length: repeat until it settles.
    index_bytes = 0
    while True:
        offsets = _place([sizes[path] for path in paths], index_bytes)
        files = tuple(IndexedFile(path, offset, sizes[path]) for path, offset in zip(paths, offsets, strict=True))
        length = LENGTH_BYTES + len(_text(directory, files, entry))
        if _aligned(length) <= _aligned(index_bytes):
            break
        index_bytes = length
    if length > MAX_INDEX_BYTES:
        raise ModelMalformedError("the model has too many files for one container")
    return Index(directory, files, entry)


def check_paths(paths: Iterable[str]) -> None:
    """Refuses paths that could escape from a directory, or that could not all exist in one.

    Raises:
        ModelMalformedError: naming the first one.
    """
    seen: set[str] = set()
    parents: set[str] = set()
    for path in paths:
        parts = path.split("/")
        if (
            not path.isprintable()
            or "\\" in path
            or any(part in ("", ".", "..") for part in parts)
            or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES
        ):
            raise ModelMalformedError(f"the path {path[:200]!r} is not allowed in a locked model")
        if path in seen:
            raise ModelMalformedError(f"the path {path[:200]!r} is there twice")
        seen.add(path)
        parents.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    if both := seen & parents:
        raise ModelMalformedError(f"the path {min(both)[:200]!r} is a file and a directory")


def _place(sizes: list[int], index_bytes: int) -> list[int]:
    offsets = []
    end = index_bytes
    for size in sizes:
        offsets.append(_aligned(end))
        end = offsets[-1] + size
    return offsets


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _text(directory: bool, files: tuple[IndexedFile, ...], entry: str | None) -> bytes:
    members: dict[str, Any] = {
        "layout": "directory" if directory else "file",
        "files": [{"path": file.path, "offset": file.offset, "size": file.size} for file in files],
    }
    if entry is not None:
        members["entry"] = entry
    return canonical(members)


def _read(fields: Fields) -> Index:
    fields.only("layout", "files", "entry")
    directory = fields.text("layout", 9, "file|directory") == "directory"
    files = tuple(fields.array("files", 1, MAX_FILES, _read_file))
    paths = [file.path for file in files]
    entry = fields.text("entry", MAX_PATH_BYTES) if "entry" in fields else None
    if paths != sorted(paths, key=str.encode) or (not directory and len(files) != 1):
        fields.fail("files", "sorted by path, and one file unless the layout is a directory")
    if entry is not None and entry not in paths:
        fields.fail("entry", "the path of one of the files")
    return Index(directory, files, entry)


def _read_file(value: Any, what: str) -> IndexedFile:
    fields = Fields.of(value, what, MalformedError)
    fields.only("path", "offset", "size")
    return IndexedFile(fields.text("path", MAX_PATH_BYTES), fields.integer("offset"), fields.integer("size"))
