"""Fuzz targets of the locked model: its header, its index, and whole files, opened as a customer opens them."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

from cryptors.errors import KeyMismatchError, ModelDamagedError, ModelMalformedError
from cryptors.fernet_file import decrypt_fernet, is_fernet
from cryptors.header import Header, header_length
from cryptors.index import ALIGNMENT, LENGTH_BYTES, Index
from cryptors.reader import LockedModel
from cryptors.stream import encrypt_bytes
from licensing.content_key import read_content_key
from licensing.errors import MalformedError
from tests.fuzz.material import CONTENT_KEY, vector
from tests.fuzz.target import Target, WrittenOtherwise
from tests.fuzz.written import json_of, same_bytes, same_members

__all__ = ["CONTAINER_TARGETS"]

BASE = Header.parse(vector("container")["containers"]["good"][0]["header"].encode())
FERNET_KEY = read_content_key(vector("container")["fernet"]["content_key"].encode())


def _header(data: bytes) -> None:
    header = Header.parse(data)
    same_bytes(header.encoded, data)
    # The members that a reader ignores, and `crit`, are not written again.
    same_members(json_of(header.encode().encoded), json_of(data))
    if header_length(header.prefix()) != len(data):
        raise WrittenOtherwise("the header's length")


def _index(text: bytes) -> None:
    """Lets the index describe a plaintext of just the length that it claims, so that this alone is no obstacle."""
    try:
        last = json_of(text)["files"][-1]
        plaintext_bytes = max(0, last["offset"] + last["size"])
    except (MalformedError, KeyError, IndexError, TypeError):
        plaintext_bytes = ALIGNMENT
    written = Index.parse(text, plaintext_bytes).to_bytes()
    same_bytes(written[LENGTH_BYTES : LENGTH_BYTES + len(text)], text)
    same_bytes(written[:LENGTH_BYTES], len(text).to_bytes(LENGTH_BYTES, "big"))


def _sealed_index(text: bytes) -> None:
    """Seals a plaintext that begins with this index: what a customer's box meets after every tag has verified."""
    plaintext = len(text).to_bytes(LENGTH_BYTES, "big") + text
    plaintext = plaintext.ljust(-(-len(plaintext) // ALIGNMENT) * ALIGNMENT, b"\0") + b"not really an ONNX graph"
    try:
        files = json_of(text)["files"]
        counts = {"content_bytes": sum(file["size"] for file in files), "files": len(files)}
        header = replace(BASE, plaintext_bytes=len(plaintext), **counts).encode()
    except (MalformedError, ModelMalformedError, KeyError, TypeError):
        header = replace(BASE, plaintext_bytes=len(plaintext)).encode()
    _open(header.prefix() + encrypt_bytes(CONTENT_KEY, header.encoded, plaintext))


def _container(data: bytes) -> None:
    _open(data)


def _open(data: bytes) -> None:
    with _file(data) as path, LockedModel(path, CONTENT_KEY, threads=1) as model:
        for entry in model.index.files:
            if len(model.file(entry.path).read_all()) != entry.size:
                raise WrittenOtherwise("a file of another length")
        model.verify_rest()


def _fernet(data: bytes) -> None:
    with _file(data) as path:
        is_fernet(path)
        decrypt_fernet(path, FERNET_KEY)


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("fuzzed", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


OPENING_ERRORS = (ModelMalformedError, ModelDamagedError, KeyMismatchError)

CONTAINER_TARGETS = (
    Target("container-header", _header, (ModelMalformedError,)),
    Target("container-index", _index, (ModelMalformedError,)),
    Target("container-sealed-index", _sealed_index, OPENING_ERRORS),
    Target("container-file", _container, OPENING_ERRORS, json=False),
    Target("fernet-file", _fernet, (ModelDamagedError,), json=False),
)
