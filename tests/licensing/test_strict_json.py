"""Strict JSON: what is refused before a member is looked at, and typed access to the members.

How whole files of ours answer abuses of JSON is in tests/test_malformed_json_values.py.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licensing.encoding import b64url_encode
from licensing.errors import LicenseMalformedError, MalformedError, RequestMalformedError
from licensing.strict_json import MAX_DEPTH, MAX_INTEGER, Fields, canonical, parse_canonical, parse_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(max_size=9),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


def parse(data: bytes, max_bytes: int = 1000) -> dict[str, Any]:
    return parse_object(data, "license", LicenseMalformedError, max_bytes)


def fields(**members: Any) -> Fields:
    return Fields(members, "license", LicenseMalformedError)


# Canonical form.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, False, None]}, '{"a":[true,false,null],"b":1}'),
        ({"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😂": 5, "\x80": 6, "ö": 7}, None),
        ({"": '\x00\x1f\b\t\n\f\r"\\/\x7f\u2028'}, '{"":"\\u0000\\u001f\\b\\t\\n\\f\\r\\"\\\\/\x7f\u2028"}'),
        ({"a": -MAX_INTEGER}, '{"a":-9007199254740991}'),
        ({}, "{}"),
    ],
)
def test_canonical_form_is_that_of_rfc_8785(value: dict[str, Any], text: str | None) -> None:
    """The second example is that of RFC 8785, section 3.2.3, where UTF-16 decides about the order."""
    expected = text or '{"\\r":2,"1":4,"\x80":6,"ö":7,"€":1,"😂":5,"\ufb33":3}'
    assert canonical(value).decode() == expected


def test_canonical_form_has_no_way_to_write_a_lone_surrogate_or_a_float() -> None:
    with pytest.raises(ValueError):
        canonical({"a": "\ud800"})
    with pytest.raises(ValueError):
        canonical({"a": float("nan")})


@settings(deadline=None, max_examples=60)
@given(OBJECTS)
def test_what_is_written_reads_back_the_same(value: dict[str, Any]) -> None:
    data = canonical(value)
    assert parse_canonical(data, "license", LicenseMalformedError, len(data)) == value
    assert canonical(json.loads(data)) == data


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\u0d8aeE+-.1 \n', max_size=60).map(str.encode))
def test_any_bytes_are_parsed_or_refused_with_the_typed_error(data: bytes) -> None:
    """What is parsed agrees with Python's own parser, which allows more than we do."""
    try:
        value = parse(data)
    except LicenseMalformedError:
        return
    assert value == json.loads(data)


@pytest.mark.parametrize("data", [b'{"a": 1}', b'{"b":1,"a":2}', b'{"a":"\\u0041"}', b'{"a":"\\/"}', b'{"a":1}\n'])
def test_text_that_is_not_canonical_is_refused_where_canonical_form_is_wanted(data: bytes) -> None:
    parse(data)
    with pytest.raises(LicenseMalformedError, match="not in canonical form"):
        parse_canonical(data, "license", LicenseMalformedError, 100)


# Parsing.


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the license is empty"),
        (b"x" * 1001, "the license is too large: 1001 bytes, at most 1000 are allowed"),
        (b"\xff", "the license is not UTF-8 text"),
        (b"{", "the license is not valid JSON"),
        (b"[]", "the license is not a JSON object"),
        (b'{"a":1,"a":1}', "the license is not valid JSON"),
        (b"[" * 500, "the license is nested too deeply"),
    ],
)
def test_the_message_names_the_file_and_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(LicenseMalformedError) as refusal:
        parse(data)
    assert refusal.value.message == message


@pytest.mark.parametrize("depth", range(10, 1200, 7))
def test_depth_does_not_depend_on_how_deep_python_can_go(depth: int) -> None:
    """Between what Python can parse and what it can walk through, an error of Python's own could come out."""
    data = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
    if depth < MAX_DEPTH:
        parse(data, len(data))
    else:
        with pytest.raises(LicenseMalformedError, match="nested too deeply"):
            parse(data, len(data))


@pytest.mark.parametrize("text", ["[" * 50, "]" * 50, '\\"' + "{" * 50, "\\\\", "\\\\\\" + '"' + "[" * 50])
def test_brackets_inside_strings_do_not_count(text: str) -> None:
    assert parse(f'{{"{text}":"{text}"}}'.encode()) != {}
    with pytest.raises(LicenseMalformedError, match="nested too deeply"):
        parse(f'{{"{text}":{"[" * 16}{"]" * 16}}}'.encode())


def test_a_long_text_of_quotes_comes_to_an_end() -> None:
    """A search for the end of a string that began again at each of these quotes would take hours."""
    with pytest.raises(LicenseMalformedError):
        parse(b'{"' + b'\\"' * 1_000_000, 4_000_000)


# Members.

READERS: list[tuple[Callable[[Fields], object], list[Any], list[Any]]] = [
    (
        lambda f: f.text("a"),
        ["x", "x" * 200, "Löwe AI 😀", " "],
        ["", "x" * 201, "a\nb", "\x7f", "\u200b", 1, None, ["x"]],
    ),
    (lambda f: f.text("a", 3, "[0-9]+"), ["1", "123"], ["1234", "12\n", "x1", "١"]),
    (lambda f: f.text("a", 20, "software|tpm"), ["software", "tpm"], ["soft", "softwaretpm", "software\n", "TPM"]),
    (lambda f: f.integer("a"), [0, 1, MAX_INTEGER], [-1, MAX_INTEGER + 1, True, False, 1.0, "1", None]),
    (lambda f: f.integer("a", -5, 5), [-5, 5], [-6, 6]),
    (lambda f: f.array("a", 1, 2, lambda value, what: value), [[1], [None, {}]], [[], [1, 2, 3], {}, "ab", None]),
    (lambda f: f.raw("a"), [{}, {"b": 1}], [[], "{}", None, 1]),
    (lambda f: f.nested("a").text("b"), [{"b": "x"}, {"b": "x", "c": 1}], [{}, {"b": 1}, [], None]),
]


@pytest.mark.parametrize(("read", "good", "bad"), READERS, ids=map(str, range(len(READERS))))
def test_members_are_read_as_their_type_or_refused(
    read: Callable[[Fields], object], good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        read(fields(a=value))
    for value in bad:
        with pytest.raises(LicenseMalformedError, match="license"):
            read(fields(a=value))
    with pytest.raises(LicenseMalformedError, match="license"):
        read(fields(b="another member"))


def test_true_is_neither_the_integer_one_nor_a_text() -> None:
    for read in (fields(a=True).integer, fields(a=True).text):
        with pytest.raises(LicenseMalformedError):
            read("a")


def test_unknown_members_are_named_and_shortened() -> None:
    fields(a=1, b=2).only("a", "b", "c")
    with pytest.raises(LicenseMalformedError, match=r"unknown member 'x{40}'$"):
        fields(a=1, **{"x" * 1000: 2}).only("a")


def test_the_message_says_where_in_a_nested_object() -> None:
    def read(value: object, what: str) -> int:
        return Fields.of(value, what, LicenseMalformedError).nested("gpu").integer("index")

    with pytest.raises(LicenseMalformedError, match=r"the license, slots 2, gpu is malformed: 'index' must be an inte"):
        fields(slots=[{"gpu": {"index": 0}}, {"gpu": {}}]).array("slots", 1, 9, read)
    with pytest.raises(LicenseMalformedError, match=r"the license, slots 1 is malformed: it must be an object"):
        fields(slots=["gpu"]).array("slots", 1, 9, read)


def test_the_error_is_the_one_that_the_caller_names() -> None:
    for error in (RequestMalformedError, LicenseMalformedError, MalformedError):
        with pytest.raises(error) as refusal:
            parse_object(b"[]", "file", error, 10)
        assert type(refusal.value) is error


def test_binary_members_have_one_form_and_bounds() -> None:
    for data in (b"", b"a", b"ab", b"abc", bytes(5)):
        fields = Fields({"data": b64url_encode(data)}, "text", MalformedError)
        if 1 <= len(data) <= 3:
            assert fields.binary("data", 1, 3) == data
        else:
            with pytest.raises(MalformedError, match="'data' must be base64url of 1 to 3 bytes"):
                fields.binary("data", 1, 3)
    wrong: Any
    for wrong in (None, 1, "", "AB==", "AB", "A", "A+==", "AAA\n", "ÄÄÄ", ["AAAA"]):
        with pytest.raises(MalformedError, match="base64url of 1 bytes" if wrong is None else "base64url"):
            Fields({"data": wrong}, "text", MalformedError).binary("data", 1, 1)
