"""Changes to JSON that its writers never make: members dropped, doubled, retyped and nested, and values out of bounds.

Random bytes almost never get past a JSON parser; these do, and reach what comes behind it. Objects are lists of pairs
here, so that a name can be there twice.
"""

import base64
import copy
import json
import re
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

__all__ = ["mutate_json"]


class Members(list[tuple[str, Any]]):
    """An object."""


class Raw(str):
    """A token that stands in the text as it is."""

    __slots__ = ()


class Place(NamedTuple):
    """Where a value stands: in an object or an array, at a position."""

    parent: "list[Any]"
    position: int

    def get(self) -> Any:
        value = self.parent[self.position]
        return value[1] if isinstance(self.parent, Members) else value

    def put(self, value: Any) -> None:
        old = self.parent[self.position]
        self.parent[self.position] = (old[0], value) if isinstance(self.parent, Members) else value


_INTEGERS = (
    *(0, 1, -1, 2, 16, 17, 255, 256, 257, 1000, 1001, 4096, 65535, 65536, 65537, 2**31 - 1, 2**31, 2**32 - 1, 2**32),
    *(2**53 - 2, 2**53 - 1, 2**53, -(2**53), 2**63, 2**64, 253402300799, 253402300800, 366 * 86400, 366 * 86400 + 1),
    10**16,
    10**17,
    10**18,
)
_TOKENS = ("1.0", "1e2", "1e400", "-0", "NaN", "Infinity", "-Infinity", "01", "9" * 400, "+1", "tru", "")
_TEXTS = (
    *("", " ", "\0", "\n", "\x7f", "\x85", "\u200b", "\u2028", "\u00ad", "\ufeff", "\ufffe", "\ud800", "\udfff"),
    *(
        "a\ud800",
        "\U0001f600",
        "\u0301",
        "e\u0301",
        "\uff11",
        "\u0661",
        "K",
        ".",
        "..",
        "../..",
        "/",
        "\\",
        "a/b",
        "//",
    ),
    *("slot-1", "slot-0", "slot-999", "slot-1000", "software", "tpm", "file", "directory", "sig", "ver", "crit", "alg"),
    *("0" * 32, "0" * 64, "A" * 22, "A" * 43, "A" * 54, "00000000-0000-0000-0000-000000000000", "x" * 200, "x" * 201),
    *("%s", "{}", "GPU-00000000-0000-0000-0000-000000000000", "EdDSA", "none", "HS256", "é" * 100),
)


_SURROGATE = re.compile("[\ud800-\udfff]")


def mutate_json(data: bytes, random: Random, byte_mutation: Callable[[bytes], bytes]) -> bytes:
    """Returns JSON with one to four changes, mostly still JSON; what is none is handed to `byte_mutation`."""
    if random.random() < 0.4:
        return byte_mutation(data)
    try:
        value = json.loads(data, object_pairs_hook=Members, parse_constant=Raw, parse_float=Raw)
    except (ValueError, RecursionError):
        return byte_mutation(data)
    root = [value]
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        _change(root, random)
    return _write(root[0], random).encode("utf-8", "surrogatepass")


def _change(root: list[Any], random: Random) -> None:
    places = _places(root)
    place = random.choice(places)
    value = place.get()
    if random.random() < 0.4:
        random.choice((_drop, _double, _rename, _swap, _nest, _copy_from))(place, random, places)
    elif isinstance(value, str) and not isinstance(value, Raw):
        place.put(_other_text(value, random))
    elif isinstance(value, int) and not isinstance(value, bool) and random.random() < 0.8:
        place.put(random.choice((value + 1, value - 1, -value, value * 2, random.choice(_INTEGERS))))
    elif isinstance(value, list) and value and random.random() < 0.6:
        _change_list(value, random)
    else:
        place.put(_any_value(random))


def _places(root: list[Any]) -> list[Place]:
    found: list[Place] = []
    waiting = [root]
    while waiting and len(found) < 5000:
        parent = waiting.pop()
        for position in range(len(parent)):
            place = Place(parent, position)
            found.append(place)
            if isinstance(inner := place.get(), list):
                waiting.append(inner)
    return found


def _drop(place: Place, random: Random, places: list[Place]) -> None:
    if len(place.parent) > 1 or place is not places[0]:
        del place.parent[place.position]
        if not place.parent and place is places[0]:
            place.parent.append(Members())


def _double(place: Place, random: Random, places: list[Place]) -> None:
    if place is not places[0]:
        place.parent.insert(random.randrange(len(place.parent) + 1), place.parent[place.position])


def _rename(place: Place, random: Random, places: list[Place]) -> None:
    if isinstance(place.parent, Members):
        name, value = place.parent[place.position]
        names = [pair[0] for other in places if isinstance(other.parent, Members) for pair in other.parent[:3]]
        place.parent[place.position] = (random.choice((_other_text(name, random), random.choice(names), "crit")), value)


def _swap(place: Place, random: Random, places: list[Place]) -> None:
    # Values of different places, of which neither holds the other: only plain ones are exchanged.
    other = random.choice(places)
    if not isinstance(place.get(), list) and not isinstance(other.get(), list):
        mine, its = place.get(), other.get()
        place.put(its)
        other.put(mine)


def _nest(place: Place, random: Random, places: list[Place]) -> None:
    value = place.get()
    for _ in range(random.choice((1, 1, 1, 2, 2, 15, 16))):
        value = [value] if random.random() < 0.5 else Members([("a", value)])
    place.put(value)


def _copy_from(place: Place, random: Random, places: list[Place]) -> None:
    place.put(copy.deepcopy(random.choice(places).get()))


def _change_list(value: list[Any], random: Random) -> None:
    if isinstance(value, Members):
        value.insert(random.randrange(len(value) + 1), (random.choice(_TEXTS), _any_value(random)))
    elif random.random() < 0.5:
        random.shuffle(value)
    else:
        item = value[random.randrange(len(value))]
        value.extend([item] * (1 if random.random() < 0.98 else random.choice((63, 255, 1000))))


def _any_value(random: Random) -> Any:
    choices: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: random.random() < 0.5,
        lambda: random.choice(_INTEGERS),
        lambda: Raw(random.choice(_TOKENS)),
        lambda: random.choice(_TEXTS),
        lambda: [],
        lambda: Members(),
        lambda: [random.choice(_INTEGERS), random.choice(_TEXTS)],
        lambda: Members([(random.choice(_TEXTS), random.choice(_INTEGERS))]),
    )
    return random.choice(choices)()


def _other_text(text: str, random: Random) -> str:
    if text.count(".") == 2 and random.random() < 0.6:
        return _other_jws(text, random)
    position = random.randrange(len(text) + 1)
    kind = random.randrange(8)
    if kind == 0:
        return random.choice(_TEXTS)
    if kind == 1:
        return text[:position] + random.choice(_TEXTS) + text[position:]
    if kind == 2:
        return text[:position]
    if kind == 3:
        return text[:position] + text[position + random.choice((1, 1, 4)) :]
    if kind == 4:
        return text * 2 if random.random() < 0.98 else (text * 50)[:20000]
    if kind == 5:
        return random.choice((text + "=", text.swapcase(), text[::-1], " " + text, text + "\n"))
    characters = "0123456789abcdefABCDEFghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ-_./=+"
    return text[:position] + random.choice(characters) + text[position + 1 :]


def _other_jws(text: str, random: Random) -> str:
    """Changes the JSON inside a signed text."""
    parts = text.split(".")
    number = random.randrange(2)
    try:
        inner = base64.urlsafe_b64decode(parts[number] + "==")
        value = [json.loads(inner, object_pairs_hook=Members, parse_constant=Raw, parse_float=Raw)]
    except (ValueError, RecursionError):
        return text
    _change(value, random)
    changed = _write(value[0], random).encode("utf-8", "surrogatepass")
    parts[number] = base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
    return ".".join(parts)


def _write(value: Any, random: Random) -> str:
    style = random.random()
    if style < 0.85:
        return _text(value, canonical=True)
    text = _text(value, canonical=False, ascii_only=style > 0.95)
    return f" {text}\n" if style < 0.9 else text


def _text(value: Any, canonical: bool, ascii_only: bool = False) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Members):
        pairs = sorted(value, key=lambda pair: pair[0].encode("utf-16-be", "surrogatepass")) if canonical else value
        inner = (f"{_text(name, canonical, ascii_only)}:{_text(item, canonical, ascii_only)}" for name, item in pairs)
        return "{" + ",".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_text(item, canonical, ascii_only) for item in value) + "]"
    if isinstance(value, str):
        # A lone surrogate can stand in UTF-8 only as an escape.
        return json.dumps(value, ensure_ascii=ascii_only or _SURROGATE.search(value) is not None)
    return json.dumps(value)
