"""JSON in license, license request and trust file: every abuse of values, nesting and names that we know.

docs/spec/license.md, section 2.1. Each abuse stands in an unknown member, which is ignored if its value is one that
JSON here may have, so that nothing else can be the reason for the refusal.
"""

import json
import re

import pytest

from tests.lock_scene import Scene
from tests.text_files import KINDS, SIGNED_KINDS, Kind, kind_of


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, lock_scene: Scene) -> Kind:
    return kind_of(request.param, lock_scene)


@pytest.fixture(params=SIGNED_KINDS)
def signed_kind(request: pytest.FixtureRequest, lock_scene: Scene) -> Kind:
    return kind_of(request.param, lock_scene)


@pytest.mark.parametrize("value", ["0", "-1", "9007199254740991", "-9007199254740991", "true", "null", '"\\u0001"'])
def test_values_that_are_allowed(value: str, kind: Kind) -> None:
    kind.use(kind.with_member(f'"z":{value}'))


@pytest.mark.parametrize(
    "number",
    ["NaN", "Infinity", "-Infinity", "1.0", "1e2", "1E400", "1e400", "-1e-400", "-0", "01", "+1", "0x1", "1_000", ".5"],
)
def test_numbers_that_are_no_integers(number: str, kind: Kind) -> None:
    assert kind.refusal(kind.with_member(f'"z":{number}')) == kind.reason


@pytest.mark.parametrize("digits", [16, 17, 18, 20, 400, 5000, 100_000])
def test_huge_integers(digits: int, kind: Kind) -> None:
    """Python refuses to convert more than 4300 digits with an error of its own, which must not come out."""
    for sign in ("", "-"):
        assert kind.refusal(kind.with_member(f'"z":{sign}{"9" * digits}')) == kind.reason


@pytest.mark.parametrize(
    "member", ['"z":"\\ud800"', '"z":"\\udc00\\ud800"', '"\\ud800":1', '"z":"\ud800"', '"z":["\\udfff"]']
)
def test_lone_surrogates(member: str, kind: Kind) -> None:
    """JSON's escapes can express them, and UTF-8 cannot, so that they have no canonical form."""
    assert kind.refusal(kind.with_member(member)) == kind.reason


@pytest.mark.parametrize("character", ["\n", "\t", "\0", "\x1f"])
def test_control_characters_in_strings(character: str, kind: Kind) -> None:
    assert kind.refusal(kind.with_member(f'"z":"{character}"')) == kind.reason


@pytest.mark.parametrize("depth", [17, 1000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ("[", ""), ('{"a":', "")])
def test_deep_nesting(opening: str, closing: str, depth: int, kind: Kind) -> None:
    """Deeper than Python's parser can go, too. A container's closing brackets are missing in half of the cases."""
    nested = opening * depth + ("1" if opening != "[" else "") + closing * depth
    assert kind.refusal(kind.with_member(f'"z":{nested}')) == kind.reason
    assert kind.refusal(nested.encode()) == kind.reason


def test_nesting_up_to_the_bound_is_accepted(kind: Kind) -> None:
    kind.use(kind.with_member(f'"z":{"[" * 15}{"]" * 15}'))


# Duplicate names.


def duplicates(text: str) -> list[str]:
    """Returns the text with the first member of one object written twice, for each object and for two spellings."""
    texts = []
    for found in re.finditer(r'\{\s*"(.)([^"]*)":', text):
        for first_character in (found[1], f"\\u{ord(found[1]):04x}"):
            member = f'"{first_character}{found[2]}":null,'
            texts.append(text[: found.start() + 1] + member + text[found.start() + 1 :])
    return texts


def test_duplicate_names_at_every_level(kind: Kind) -> None:
    """Readers that take the first value and readers that take the last one must not disagree."""
    files = [data.encode() for data in duplicates(kind.data.decode())]
    if kind.signed is not None:
        header, payload = kind.header_and_payload()
        files += [kind.with_signed(data.encode(), payload) for data in duplicates(header.decode())]
        files += [kind.with_signed(header, data.encode()) for data in duplicates(payload.decode())]
    assert len(files) == 2 * {"license": 9, "request": 7, "trust": 2}[kind.name]
    assert {kind.refusal(data) for data in files} == {kind.reason}


def test_a_payload_that_is_not_canonical(signed_kind: Kind) -> None:
    header, payload = signed_kind.header_and_payload()
    unsorted = dict(reversed(json.loads(payload).items()))
    compact = {"separators": (",", ":"), "ensure_ascii": False}
    for changed in (
        payload + b"\n",
        b" " + payload,
        json.dumps(json.loads(payload), indent=1).encode(),
        json.dumps(unsorted, **compact).encode(),  # type: ignore[arg-type]
        payload.replace(b'"ver"', b'"\\u0076er"'),
    ):
        assert json.loads(changed) == json.loads(payload)
        assert signed_kind.refusal(signed_kind.with_signed(header, changed)) == signed_kind.reason
