"""Locked models put together in memory from their parts, so that a test can make each part wrong."""

import uuid
from collections.abc import Mapping
from pathlib import Path

from cryptors.header import Header
from cryptors.index import Index, build_index
from cryptors.stream import encrypt_bytes
from licensing.content_key import key_id

__all__ = ["CONTENT_KEY", "container", "make_header", "plaintext", "write_container"]

CONTENT_KEY = bytes(range(32))


def plaintext(index: Index, files: Mapping[str, bytes]) -> bytes:
    """Returns an index and files at the places that it gives them."""
    data = bytearray(index.to_bytes())
    for file in index.files:
        data += bytes(max(0, file.offset - len(data)))
        data[file.offset : file.offset + file.size] = files[file.path]
    return bytes(data)


def make_header(index: Index, plaintext_bytes: int, model_type: str = "torch") -> Header:
    """Returns the header for a plaintext."""
    return Header(
        model_id=str(uuid.UUID(int=1)),
        name="model",
        model_type=model_type,
        key_id=key_id(CONTENT_KEY),
        plaintext_bytes=plaintext_bytes,
        content_bytes=index.content_bytes,
        files=len(index.files),
        created="2026-07-01T12:00:00Z",
        generator="weightlock tests",
    ).encode()


def container(
    files: Mapping[str, bytes], index: Index | None = None, entry: str | None = None, model_type: str = "torch"
) -> bytes:
    """Returns the locked model of a directory of these files, under CONTENT_KEY.

    Args:
        files: the content of each file by its path.
        index: by default, the right one.
        entry: for the right one.
        model_type: as the header says it.
    """
    index = index or build_index({path: len(data) for path, data in files.items()}, directory=True, entry=entry)
    data = plaintext(index, files)
    header = make_header(index, len(data), model_type)
    return header.prefix() + encrypt_bytes(CONTENT_KEY, header.encoded, data)


def write_container(
    path: Path, files: Mapping[str, bytes], entry: str | None = None, model_type: str = "torch"
) -> Path:
    """Writes such a locked model."""
    path.write_bytes(container(files, entry=entry, model_type=model_type))
    return path
