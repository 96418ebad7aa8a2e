"""Writing again what a parser read, and comparing: what was lost, changed or made up on the way shows here."""

from collections.abc import Mapping
from typing import Any

from licensing.errors import MalformedError
from licensing.strict_json import canonical, parse_object
from tests.fuzz.target import WrittenOtherwise

__all__ = ["json_of", "same_bytes", "same_json", "same_members"]


def json_of(data: bytes) -> dict[str, Any]:
    """Returns the object of a JSON text that a strict parser has accepted already."""
    return parse_object(data, "input", MalformedError, len(data))


def same_bytes(written: bytes, read: bytes) -> None:
    """Refuses anything but the same bytes."""
    if written != read:
        raise WrittenOtherwise(f"written: {written[:2000]!r}")


def same_json(written: bytes, read: bytes) -> None:
    """Refuses anything but the canonical form of what was read: for formats where whitespace is allowed."""
    same_bytes(written, canonical(json_of(read)))


def same_members(written: Mapping[str, Any], read: Mapping[str, Any]) -> None:
    """Refuses if a member that was understood is not what was read; those that a reader ignores may be missing."""
    for name, value in written.items():
        if isinstance(value, dict) and isinstance(read.get(name), dict):
            same_members(value, read[name])
        elif isinstance(value, list) and isinstance(read.get(name), list) and len(value) == len(read[name]):
            for number, item in enumerate(value):
                same_members({"item": item}, {"item": read[name][number]})
        elif canonical(value) != canonical(read.get(name)):
            raise WrittenOtherwise(f"{name!r} is written as {value!r}"[:500])
