"""docs/spec/container.md, sections 1 and 2: what a locked model says without a key, and what is not one."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cryptors import read_header
from cryptors.errors import ModelDamagedError, ModelMalformedError
from cryptors.header import Header, header_length
from cryptors.index import build_index
from licensing.errors import FileAccessError
from tests.cryptors.containers import container, make_header

Change = Callable[[dict[str, Any]], Any]

GOOD = make_header(build_index({"a": 5}, directory=False), 4101)


def members() -> dict[str, Any]:
    found = json.loads(GOOD.encoded)
    assert isinstance(found, dict)
    return found


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_round_trip() -> None:
    assert Header.parse(GOOD.encoded) == GOOD
    assert GOOD.encode() == GOOD
    assert GOOD.prefix() == b"WLOCKED\n" + len(GOOD.encoded).to_bytes(4, "big") + GOOD.encoded
    assert GOOD.file_bytes == len(GOOD.prefix()) + 40 + 4101 + 16


def test_unknown_member_is_ignored() -> None:
    """A later version may say more, as long as an older reader need not understand it."""
    parsed = Header.parse(canonical({**members(), "comment": "hello"}))
    assert parsed.model_id == GOOD.model_id
    assert parsed.encoded != GOOD.encoded, "what is authenticated are the bytes of the file"


def test_demand_that_is_understood() -> None:
    assert Header.parse(canonical({**members(), "crit": ["files", "crit"]})).name == GOOD.name


def without(name: str) -> Change:
    return lambda header: header.pop(name)


def change(**changed: Any) -> Change:
    return lambda header: header.update(changed)


CHANGES: dict[str, Change] = {
    **{f"no {name}": without(name) for name in json.loads(GOOD.encoded)},
    "version 0": change(version=0),
    "version 2": change(version=2),
    "version as text": change(version="1"),
    "version as truth": change(version=True),
    "unknown demand": change(crit=["watermark"]),
    "demand of nothing": change(crit=[]),
    "demand that is no list": change(crit="files"),
    "model id in capitals": change(model_id="00000000-0000-0000-0000-00000000000A"),
    "model id without hyphens": change(model_id="0" * 32),
    "empty name": change(name=""),
    "name of 201 characters": change(name="x" * 201),
    "name with an escape": change(name="\x1b[31mred"),
    "type in capitals": change(type="ONNX"),
    "type with a path": change(type="../onnx"),
    "type of 33 characters": change(type="x" * 33),
    "short key id": change(key_id="0" * 31),
    "key id that is not hexadecimal": change(key_id="g" * 32),
    "no plaintext": change(plaintext_bytes=0),
    "plaintext beyond the cipher": change(plaintext_bytes=4503530907893721),
    "negative content": change(content_bytes=-1),
    "no file": change(files=0),
    "65537 files": change(files=65537),
    "time with a zone": change(created="2026-07-01T12:00:00+00:00"),
    "time in digits of another script": change(created="２026-07-01T12:00:00Z"),
    "generator that is no text": change(generator=1),
}


@pytest.mark.parametrize("make", CHANGES.values(), ids=CHANGES)
def test_wrong_header(make: Change) -> None:
    header = members()
    make(header)
    with pytest.raises(ModelMalformedError) as caught:
        Header.parse(canonical(header))
    assert caught.value.reason == "model_malformed"


@pytest.mark.parametrize(
    "encoded",
    [b"", b"{}", b"[]", b"null", b"\xff", b" " + GOOD.encoded, GOOD.encoded + b"\n", GOOD.encoded[:-1], b"[" * 60000],
    ids=["empty", "empty object", "array", "null", "not UTF-8", "space first", "line feed last", "cut", "deep"],
)
def test_header_that_is_no_canonical_object(encoded: bytes) -> None:
    with pytest.raises(ModelMalformedError):
        Header.parse(encoded)


@pytest.mark.parametrize("name", ["unknown demand", "version 2"])
def test_newer_format_hints_at_a_newer_version(name: str) -> None:
    header = members()
    CHANGES[name](header)
    with pytest.raises(ModelMalformedError) as caught:
        Header.parse(canonical(header))
    assert caught.value.hints == ("install a newer weightlock",)


# The beginning of the file.


@pytest.mark.parametrize("length", [0, 1, 65537, 2**31, 2**32 - 1])
def test_length_out_of_bounds(length: int) -> None:
    with pytest.raises(ModelMalformedError):
        header_length(b"WLOCKED\n" + length.to_bytes(4, "big"))


@pytest.mark.parametrize("length", [2, 65536])
def test_length_at_its_bounds(length: int) -> None:
    assert header_length(b"WLOCKED\n" + length.to_bytes(4, "big")) == length


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b'{"license":"ey', "a license,"),
        (b'\n { "grants": [', "a license,"),
        (b'{"request":"ey', "a license request"),
        (b'{"keys":[', "a trust file"),
        (b"gAAAAABl", "a model encrypted by the old toolkit"),
        (b"PK\x03\x04", "something else"),
        (b"WLOCKED", "something else"),
        (b"wlocked\n" + bytes(100), "something else"),
        (bytes(range(128, 256)), "something else"),
    ],
)
def test_file_of_another_kind_is_named(tmp_path: Path, data: bytes, kind: str) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ModelMalformedError) as caught:
        read_header(tmp_path / "file")
    assert kind in caught.value.message


@pytest.mark.parametrize("kept", [8, 11, 12, 13, 100])
def test_file_that_ends_in_its_header(tmp_path: Path, kept: int) -> None:
    (tmp_path / "file").write_bytes(container({"a": b"hello"})[:kept])
    with pytest.raises(ModelMalformedError):
        read_header(tmp_path / "file")


@pytest.mark.parametrize("change", [-1, 1, 1024])
def test_file_of_the_wrong_length(tmp_path: Path, change: int) -> None:
    data = container({"a": b"hello"})
    (tmp_path / "file").write_bytes(data[:change] if change < 0 else data + bytes(change))
    with pytest.raises(ModelDamagedError) as caught:
        read_header(tmp_path / "file")
    assert caught.value.reason == "model_damaged"


def test_what_is_no_file(tmp_path: Path) -> None:
    """Nothing of this may hang either, as opening a pipe that nobody writes to would."""
    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    reasons = {
        tmp_path / "missing": "file_not_found",
        tmp_path / "missing" / "model": "file_not_found",
        tmp_path: "not_a_file",
        tmp_path / "pipe": "not_a_file",
        tmp_path / "socket": "file_unreadable",
        Path("/dev/zero"): "not_a_file",
        tmp_path / "zero\0byte": "file_unreadable",
        tmp_path / ("x" * 300): "file_unreadable",
    }
    for path, reason in reasons.items():
        with pytest.raises(FileAccessError) as caught:
            read_header(path)
        assert caught.value.reason == reason, path
    server.close()
