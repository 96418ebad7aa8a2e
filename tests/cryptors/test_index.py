"""docs/spec/container.md, section 4: the index holds paths that stay inside the model, and describes it exactly."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptors.errors import ModelMalformedError
from cryptors.index import ALIGNMENT, Index, build_index, check_paths

BAD_PATHS = {
    "empty": "",
    "parent": "..",
    "parent first": "../weights.bin",
    "parent within": "a/../../weights.bin",
    "parent last": "a/..",
    "absolute": "/etc/passwd",
    "two slashes first": "//host/share",
    "here": ".",
    "here first": "./weights.bin",
    "here within": "a/./weights.bin",
    "empty component": "a//b",
    "slash last": "a/",
    "slash": "/",
    "backslash": "a\\b",
    "backslash parent": "..\\weights.bin",
    "drive": "C:\\weights.bin",
    "zero": "a\0b",
    "line feed": "a\nb",
    "carriage return": "a\rb",
    "tab": "a\tb",
    "escape": "\x1b[2Ja",
    "delete": "a\x7f",
    "C1 control": "a\x9bb",
    "right-to-left override": "a\u202etxt.bin",
    "line separator": "a\u2028b",
    "lone surrogate": "a\udc80",
    "private use": "a\ue000",
    "unassigned": "a\u0378",
    "1025 bytes": "a" * 1025,
    "1026 bytes in 513 characters": "é" * 513,
}


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS)
def test_path_that_is_not_allowed(path: str) -> None:
    for call in (lambda: check_paths(["a.bin", path]), lambda: build_index({path: 1}, directory=True)):
        with pytest.raises(ModelMalformedError) as caught:
            call()
        assert caught.value.reason == "model_malformed"
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS)
def test_path_that_is_not_allowed_in_a_container(path: str) -> None:
    """What the writer refuses, the reader refuses as well: another writer may have been less careful."""
    text, plaintext_bytes = parts_of({"layout": "directory", "files": [{"path": path, "offset": 4096, "size": 1}]})
    with pytest.raises(ModelMalformedError):
        Index.parse(text, plaintext_bytes)


@pytest.mark.parametrize(
    "path", ["a", "a/b/c.bin", "...", "..a", "a..", ".hidden", "a b", "Gewichte/größe.bin", "é" * 512]
)
def test_path_that_is_allowed(path: str) -> None:
    check_paths([path])


@pytest.mark.parametrize(
    "paths",
    [["a", "a"], ["a", "a/b"], ["a/b", "a"], ["a", "a.b", "a/b"], ["a/b/c", "a/b"], ["a", "a/b/c/d"]],
    ids=" ".join,
)
def test_paths_that_cannot_be_together(paths: list[str]) -> None:
    with pytest.raises(ModelMalformedError):
        check_paths(paths)


def test_paths_that_differ_in_case_only_are_two() -> None:
    check_paths(["Model.bin", "model.bin"])


# Layout.


def test_layout() -> None:
    index = build_index({"b": 1, "a/b": 4097, "é": 0, "a.b": 0, "z": 5}, directory=True, entry="z")
    assert [(file.path, file.offset, file.size) for file in index.files] == [
        ("a.b", 4096, 0),
        ("a/b", 4096, 4097),
        ("b", 12288, 1),
        ("z", 16384, 5),
        ("é", 20480, 0),
    ]
    assert (index.plaintext_bytes, index.content_bytes) == (20480, 4103)
    assert len(index.to_bytes()) == 4096


def test_order_is_that_of_the_bytes() -> None:
    """UTF-16, in which other languages compare, would put the second first."""
    assert [file.path for file in build_index({"\U0001f40d": 1, "\uff5e": 1}, directory=True).files] == [
        "\uff5e",
        "\U0001f40d",
    ]


@pytest.mark.parametrize("length", range(3990, 4040))
def test_index_whose_length_is_near_the_alignment(length: int) -> None:
    """The offsets' digits make the index longer, which can move the offsets."""
    sizes = dict.fromkeys((f"{number:04}" + "x" * 986 for number in range(3)), 1) | {"y" * (length - 3240): 1}
    index = build_index(sizes, directory=True)
    beginning = index.to_bytes()
    assert len(beginning) == index.files[0].offset
    assert Index.parse(text_of(beginning), index.plaintext_bytes) == index


components = st.text(st.characters(categories=("L", "N", "P", "S"), exclude_characters="/\\"), min_size=1, max_size=8)
paths = st.lists(components.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3).map("/".join)


@st.composite
def sizes_by_path(draw: st.DrawFn) -> dict[str, int]:
    found = draw(st.dictionaries(paths, st.integers(0, 2**40), min_size=1, max_size=30))
    return {path: size for path, size in found.items() if not any(other.startswith(f"{path}/") for other in found)}


@settings(deadline=None)
@given(sizes_by_path(), st.booleans(), st.data())
def test_round_trip(sizes: dict[str, int], with_entry: bool, data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from(sorted(sizes))) if with_entry else None
    index = build_index(sizes, directory=True, entry=entry)
    beginning = index.to_bytes()
    parsed = Index.parse(text_of(beginning), index.plaintext_bytes)
    assert parsed == index
    assert parsed.to_bytes() == beginning
    assert {file.path: file.size for file in parsed.files} == sizes
    end = len(beginning)
    for file in parsed.files:
        assert file.offset % ALIGNMENT == 0
        assert 0 <= file.offset - end < ALIGNMENT
        end = file.offset + file.size
    assert end == parsed.plaintext_bytes


# What a reader refuses.


def text_of(beginning: bytes) -> bytes:
    return beginning[4 : 4 + int.from_bytes(beginning[:4], "big")]


def parts_of(members: Any, **options: Any) -> tuple[bytes, int]:
    """Returns the text of an index in canonical form, and the plaintext's length that it claims."""
    canonical = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False, **options}
    last = members["files"][-1]
    claimed = last["offset"] + last["size"] if isinstance(last["size"], int) else last["offset"]
    return json.dumps(members, **canonical).encode("utf-8", "surrogatepass"), claimed


def good() -> dict[str, Any]:
    files = [{"path": "a", "offset": 4096, "size": 10}, {"path": "b", "offset": 8192, "size": 20}]
    return {"layout": "directory", "files": files, "entry": "b"}


def test_good_index_is_accepted() -> None:
    """Each of the changes below is to this one."""
    assert [file.path for file in Index.parse(*parts_of(good())).files] == ["a", "b"]


def set_file(number: int, **members: Any) -> Callable[[dict[str, Any]], None]:
    return lambda index: index["files"][number].update(members)


def set_member(**members: Any) -> Callable[[dict[str, Any]], None]:
    return lambda index: index.update(members)


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "offset too early": set_file(1, offset=4096),
    "offset too late": set_file(1, offset=12288),
    "offset not aligned": set_file(1, offset=8193),
    "first offset in the index": set_file(0, offset=0),
    "negative offset": set_file(0, offset=-4096),
    "size too large for the next offset": set_file(0, size=4097),
    "negative size": set_file(1, size=-1),
    "size as text": set_file(1, size="20"),
    "size as truth": set_file(1, size=True),
    "size beyond 2^53": set_file(1, size=2**53),
    "wrong order": lambda index: index["files"].reverse(),
    "same path twice": set_file(1, path="a"),
    "path is no text": set_file(1, path=7),
    "unknown member of a file": set_file(1, mode=493),
    "member of a file missing": lambda index: index["files"][0].pop("path"),
    "file is no object": lambda index: index["files"].insert(0, 7),
    "unknown layout": set_member(layout="tree"),
    "one file, but two": set_member(layout="file"),
    "entry that is not there": set_member(entry="c"),
    "entry is a directory": set_member(entry=""),
    "unknown member": set_member(comment="hello"),
    "layout missing": lambda index: index.pop("layout"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_wrong_index(change: Callable[[dict[str, Any]], Any]) -> None:
    index = good()
    change(index)
    with pytest.raises(ModelMalformedError) as caught:
        Index.parse(*parts_of(index))
    assert caught.value.reason == "model_malformed"


@pytest.mark.parametrize("difference", [-1, 1, 4096])
def test_plaintext_of_another_length(difference: int) -> None:
    text, plaintext_bytes = parts_of(good())
    with pytest.raises(ModelMalformedError):
        Index.parse(text, plaintext_bytes + difference)


NOT_CANONICAL: dict[str, Callable[[bytes], bytes]] = {
    "space": lambda text: text.replace(b":", b": ", 1),
    "line feed last": lambda text: text + b"\n",
    "something behind": lambda text: text + b"{}",
    "escaped letter": lambda text: text.replace(b'"b"', b'"\\u0062"', 1),
    "number with a point": lambda text: text.replace(b"4096", b"4096.0", 1),
    "number with an exponent": lambda text: text.replace(b"4096", b"4096e0", 1),
    "member twice": lambda text: text.replace(b"{", b'{"entry":"b",', 1),
    "not UTF-8": lambda text: text.replace(b'"a"', b'"\xff"', 1),
    "cut": lambda text: text[:-1],
    "empty": lambda text: b"",
    "array": lambda text: b"[]",
    "empty object": lambda text: b"{}",
    "deep": lambda text: b"[" * 100_000,
}


@pytest.mark.parametrize("change", NOT_CANONICAL.values(), ids=NOT_CANONICAL)
def test_text_that_is_not_canonical(change: Callable[[bytes], bytes]) -> None:
    text, plaintext_bytes = parts_of(good())
    with pytest.raises(ModelMalformedError):
        Index.parse(change(text), plaintext_bytes)


def test_members_in_another_order() -> None:
    members = {name: good()[name] for name in ("layout", "files", "entry")}
    text, plaintext_bytes = parts_of(members, sort_keys=False)
    with pytest.raises(ModelMalformedError):
        Index.parse(text, plaintext_bytes)


@pytest.mark.parametrize("count", [0, 65537])
def test_number_of_files(count: int) -> None:
    files = [{"path": f"{number:06}", "offset": 0, "size": 0} for number in range(count)]
    text = json.dumps({"files": files, "layout": "directory"}, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(ModelMalformedError, match="1 to 65536 items"):
        Index.parse(text, 1)


def test_index_that_would_be_too_long() -> None:
    sizes = dict.fromkeys((f"{number:05}" + "x" * 1019 for number in range(17_000)), 0)
    with pytest.raises(ModelMalformedError, match="too many files"):
        build_index(sizes, directory=True)
