"""The readable beginning of a locked model: magic, header length, header. docs/spec/container.md.

The header is readable without a key, and authenticated: its bytes are the payload's associated data. Until the
payload has been opened with the content key, what it says is a claim.
"""

import re
from dataclasses import dataclass
from typing import Any

from cryptors.errors import ModelMalformedError
from cryptors.index import MAX_FILES
from cryptors.stream import MAX_PLAINTEXT_BYTES, Geometry
from licensing.content_key import KEY_ID_PATTERN
from licensing.errors import MalformedError
from licensing.request import UUID_PATTERN
from licensing.strict_json import MAX_INTEGER, Fields, canonical, parse_canonical

__all__ = ["MAGIC", "Header", "Parent", "header_length", "is_locked_model"]

MAGIC = b"WLOCKED\n"
PREFIX_BYTES = len(MAGIC) + 4
MAX_HEADER_BYTES = 65536
FORMAT_VERSION = 1
TYPE_PATTERN = "[a-z0-9_]{1,32}"
TIME_PATTERN = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"

_MEMBERS = (
    *("version", "model_id", "name", "type", "key_id", "plaintext_bytes", "content_bytes", "files"),
    *("created", "generator", "parent", "crit"),
)


@dataclass(frozen=True)
class Parent:
    """The locked model that a derived one was made from: its model id, and the name of its content key."""

    model_id: str
    key_id: str


@dataclass(frozen=True)
class Header:
    """What a locked model says of itself without a key.

    Attributes:
        model_id, name, model_type: which model it is.
        key_id: the name of its content key.
        plaintext_bytes: length of the payload's plaintext.
        content_bytes: the sizes of all files together.
        files: how many files there are.
        created: when it was made, UTC, as RFC 3339.
        generator: what made it.
        parent: the locked model that this one was made from on a customer's box; None for a vendor's own.
        encoded: the header exactly as it stands in the file.
    """

    model_id: str
    name: str
    model_type: str
    key_id: str
    plaintext_bytes: int
    content_bytes: int
    files: int
    created: str
    generator: str
    parent: Parent | None = None
    encoded: bytes = b""

    @property
    def payload_offset(self) -> int:
        """Where the payload begins in the file."""
        return PREFIX_BYTES + len(self.encoded)

    @property
    def file_bytes(self) -> int:
        """The length that the whole file must have."""
        return self.payload_offset + Geometry(self.plaintext_bytes).stream_bytes

    def encode(self) -> "Header":
        """Returns the same header with `encoded` filled in; checked by reading it back."""
        members: dict[str, Any] = {
            "version": FORMAT_VERSION,
            "model_id": self.model_id,
            "name": self.name,
            "type": self.model_type,
            "key_id": self.key_id,
            "plaintext_bytes": self.plaintext_bytes,
            "content_bytes": self.content_bytes,
            "files": self.files,
            "created": self.created,
            "generator": self.generator,
        }
        if self.parent is not None:
            members["parent"] = {"model_id": self.parent.model_id, "key_id": self.parent.key_id}
        return Header.parse(canonical(members))

    def prefix(self) -> bytes:
        """Returns the beginning of the file, up to the payload."""
        return MAGIC + len(self.encoded).to_bytes(4, "big") + self.encoded

    @classmethod
    def parse(cls, encoded: bytes) -> "Header":
        """Parses the header's bytes.

        Raises:
            ModelMalformedError: they do not follow the specification, or demand a newer version.
        """
        what = "locked model's header"
        try:
            fields = Fields(parse_canonical(encoded, what, MalformedError, MAX_HEADER_BYTES), what, MalformedError)
            _check_version(fields)
            return cls(
                model_id=fields.text("model_id", 36, UUID_PATTERN),
                name=fields.text("name"),
                model_type=fields.text("type", 32, TYPE_PATTERN),
                key_id=fields.text("key_id", 32, KEY_ID_PATTERN),
                plaintext_bytes=fields.integer("plaintext_bytes", 1, min(MAX_PLAINTEXT_BYTES, MAX_INTEGER)),
                content_bytes=fields.integer("content_bytes"),
                files=fields.integer("files", 1, MAX_FILES),
                created=fields.text("created", 20, TIME_PATTERN),
                generator=fields.text("generator"),
                parent=_read_parent(fields.nested("parent")) if "parent" in fields else None,
                encoded=encoded,
            )
        except MalformedError as cause:
            raise ModelMalformedError(cause.message, *cause.hints) from cause


def is_locked_model(beginning: bytes) -> bool:
    """Returns whether a file that begins so claims to be a locked model."""
    return beginning.startswith(MAGIC)


def header_length(beginning: bytes) -> int:
    """Returns the header's length from the first 12 bytes of a file.

    Raises:
        ModelMalformedError: it is not the beginning of a locked model.
    """
    if not is_locked_model(beginning):
        raise ModelMalformedError(f"the file is {_kind_of(beginning)}, not a locked model")
    length = int.from_bytes(beginning[len(MAGIC) : PREFIX_BYTES], "big")
    if len(beginning) < PREFIX_BYTES or not 2 <= length <= MAX_HEADER_BYTES:
        raise ModelMalformedError("the locked model's header is cut short or damaged")
    return length


def _check_version(fields: Fields) -> None:
    if fields.integer("version") != FORMAT_VERSION:
        raise MalformedError("the locked model has an unknown format version", "install a newer weightlock")
    if "crit" in fields:
        for name in fields.array("crit", 1, 100, _read_name):
            if name not in _MEMBERS:
                raise MalformedError(
                    f"the locked model demands {name!r}, which this version does not know",
                    "install a newer weightlock",
                )


def _read_parent(fields: Fields) -> Parent:
    return Parent(fields.text("model_id", 36, UUID_PATTERN), fields.text("key_id", 32, KEY_ID_PATTERN))


def _read_name(value: Any, what: str) -> str:
    return Fields({"name": value}, what, MalformedError).text("name")


def _kind_of(beginning: bytes) -> str:
    """Returns what a file that is no locked model looks like, because users mix files up."""
    if not beginning:
        return "empty"
    if match := re.match(rb'\s*\{\s*"(license|request|keys|grants)"', beginning):
        kinds = {
            b"license": "a license",
            b"grants": "a license",
            b"request": "a license request",
            b"keys": "a trust file",
        }
        return kinds[match.group(1)]
    if beginning.startswith(b"gAAAAA"):
        return "a model encrypted by the old toolkit"
    return "something else"
