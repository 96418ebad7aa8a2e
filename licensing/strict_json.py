"""JSON as docs/spec/license.md, section 2, allows it: UTF-8, no duplicate keys, integers only, bounded.

`parse` accepts any insignificant whitespace, because license and trust files are carried by people, mail and
editors; `canonical` writes one form (RFC 8785, of which we need only objects, arrays, strings, booleans and
integers), and `parse_canonical` accepts that form alone.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from licensing.encoding import b64url_decode
from licensing.errors import MalformedError

__all__ = ["Fields", "canonical", "parse_canonical", "parse_object"]

MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON implementation keeps exactly (RFC 8259, section 6)."""

MAX_DEPTH = 16

ErrorType = type[MalformedError]
T = TypeVar("T")


def canonical(value: object) -> bytes:
    """Returns the canonical form (RFC 8785) of a value made of dicts, lists, strings, booleans and integers."""
    return json.dumps(_ordered(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_object(data: bytes, what: str, error: ErrorType, max_bytes: int) -> dict[str, Any]:
    """Parses one JSON object strictly.

    Args:
        data: the whole input.
        what: the name of the input for the message, such as "license".
        error: the class to raise.
        max_bytes: the largest input that is looked at.

    Raises:
        MalformedError: (as `error`) for anything but one JSON object that section 2 of the specification allows.
    """
    if not data:
        raise error(f"the {what} is empty")
    if len(data) > max_bytes:
        raise error(f"the {what} is too large: {len(data)} bytes, at most {max_bytes} are allowed")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise error(f"the {what} is not UTF-8 text") from cause
    _check_depth(text, what, error)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
            parse_int=_bounded_integer,
        )
        canonical(value)  # Refuses lone surrogates, which JSON's escapes can express and UTF-8 cannot.
    except (ValueError, RecursionError) as cause:
        raise error(f"the {what} is not valid JSON") from cause
    if not isinstance(value, dict):
        raise error(f"the {what} is not a JSON object")
    return value


def parse_canonical(data: bytes, what: str, error: ErrorType, max_bytes: int) -> dict[str, Any]:
    """Parses one JSON object that is in canonical form, byte for byte; arguments as in `parse_object`."""
    value = parse_object(data, what, error, max_bytes)
    if canonical(value) != data:
        raise error(f"the {what} is not in canonical form")
    return value


def _ordered(value: object) -> object:
    """Returns the value with the members of every object in the order of RFC 8785: by UTF-16 code units."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: str(name).encode("utf-16-be", "surrogatepass"))
        return {name: _ordered(value[name]) for name in names}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def _check_depth(text: str, what: str, error: ErrorType) -> None:
    """Refuses deep nesting before anything recurses: how deep Python can go differs between its versions.

    Brackets inside strings do not count. In a text that is no JSON, the parser stops before the count goes wrong.
    """
    depth, in_string = 0, False
    for match in re.finditer(r'\\.|["\[\]{}]', text, re.DOTALL):
        mark = match.group()
        if mark == '"':
            in_string = not in_string
        elif not in_string and mark in "[]{}":
            depth += 1 if mark in "[{" else -1
            if depth > MAX_DEPTH:
                raise error(f"the {what} is nested too deeply")


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _refuse_number(text: str) -> NoReturn:
    raise ValueError("only integers are allowed")


def _bounded_integer(text: str) -> int:
    if len(text) > 17 or text == "-0" or abs(int(text)) > MAX_INTEGER:
        raise ValueError("integer out of range")
    return int(text)


class Fields:
    """Typed access to the members of one parsed object, with messages that name the member.

    Args:
        members: the object.
        what: its name for messages.
        error: the class to raise.
    """

    def __init__(self, members: dict[str, Any], what: str, error: ErrorType) -> None:
        self._members = members
        self._what = what
        self._error = error

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def fail(self, name: str, expected: str) -> NoReturn:
        """Raises the error for one member."""
        raise self._error(f"the {self._what} is malformed: '{name}' must be {expected}")

    def only(self, *names: str) -> None:
        """Refuses members that are not named."""
        unknown = sorted(set(self._members) - set(names))
        if unknown:
            raise self._error(f"the {self._what} is malformed: unknown member {unknown[0][:40]!r}")

    def text(self, name: str, max_chars: int = 200, pattern: str | None = None, expected: str = "") -> str:
        """Returns a string member of 1 to `max_chars` printable characters that matches `pattern` as a whole."""
        value = self._members.get(name)
        if not isinstance(value, str) or not 1 <= len(value) <= max_chars or not value.isprintable():
            self.fail(name, expected or f"printable text of 1 to {max_chars} characters")
        if pattern is not None and re.fullmatch(pattern, value, re.ASCII) is None:
            self.fail(name, expected or f"text of the form {pattern}")
        return value

    def integer(self, name: str, low: int = 0, high: int = MAX_INTEGER) -> int:
        """Returns an integer member within the bounds, both included."""
        value = self._members.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fail(name, f"an integer from {low} to {high}")
        return value

    def binary(self, name: str, low: int, high: int) -> bytes:
        """Returns the bytes of a base64url member; of `low` to `high` bytes, both included."""
        expected = f"base64url of {low} to {high} bytes" if low != high else f"base64url of {low} bytes"
        try:
            data = b64url_decode(self.text(name, (4 * high + 2) // 3, expected=expected))
        except ValueError:
            self.fail(name, expected)
        if not low <= len(data) <= high:
            self.fail(name, expected)
        return data

    def boolean(self, name: str) -> bool:
        """Returns a member that is true or false."""
        value = self._members.get(name)
        if not isinstance(value, bool):
            self.fail(name, "true or false")
        return value

    def array(self, name: str, low: int, high: int, read: Callable[[Any, str], T]) -> list[T]:
        """Returns an array member of `low` to `high` items, each passed through `read(item, description)`."""
        value = self._members.get(name)
        if not isinstance(value, list) or not low <= len(value) <= high:
            self.fail(name, f"an array of {low} to {high} items")
        return [read(item, f"{self._what}, {name} {number}") for number, item in enumerate(value, start=1)]

    def nested(self, name: str) -> "Fields":
        """Returns an object member."""
        return Fields.of(self._members.get(name), f"{self._what}, {name}", self._error)

    def raw(self, name: str) -> dict[str, Any]:
        """Returns an object member as it is."""
        value = self._members.get(name)
        if not isinstance(value, dict):
            self.fail(name, "an object")
        return value

    @classmethod
    def of(cls, value: object, what: str, error: ErrorType) -> "Fields":
        """Wraps a value that must be an object."""
        if not isinstance(value, dict):
            raise error(f"the {what} is malformed: it must be an object")
        return cls(value, what, error)
