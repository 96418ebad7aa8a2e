"""License, license request and trust file: cut short, lengthened, huge, of another kind, in another encoding.

docs/spec/license.md, section 2.1. Each abuse stands beside a control that is accepted, so that a test cannot pass
because something else is wrong with its file.
"""

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptors import read_header
from licensing.errors import WeightlockError
from tests.lock_scene import Scene
from tests.locked_models import lock_pattern
from tests.raw_jws import header_of
from tests.text_files import KINDS, Kind, kind_of


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, lock_scene: Scene) -> Kind:
    return kind_of(request.param, lock_scene)


def test_the_controls_are_accepted(kind: Kind) -> None:
    kind.use(kind.data)
    kind.use(kind.with_member('"z":1'))
    if kind.signed is not None:
        kind.use(kind.with_signed(header_of(*kind.signed), kind.header_and_payload()[1]))


# Length.


def test_cut_short_at_every_length(kind: Kind) -> None:
    assert {kind.refusal(kind.data[:length]) for length in range(len(kind.data))} == {kind.reason}


@pytest.mark.parametrize("more", [b"x", b"\0", b"}", b",", b"{}", b"[]", b"\n{}\n"])
def test_bytes_behind_the_end(more: bytes, kind: Kind) -> None:
    assert kind.refusal(kind.data + more) == kind.reason


def test_two_copies_in_one_file(kind: Kind) -> None:
    assert kind.refusal(kind.data * 2) == kind.reason


def test_the_size_bound_is_exact(kind: Kind) -> None:
    kind.use(kind.data.ljust(kind.max_bytes))
    assert kind.refusal(kind.data.ljust(kind.max_bytes + 1)) == kind.reason


def test_a_file_of_5_gib_is_refused_without_reading_it(kind: Kind, tmp_path: Path) -> None:
    """The file is sparse: it takes no space, and reading it as a whole would take 5 GiB of memory."""
    path = tmp_path / "huge"
    path.write_bytes(kind.data)
    os.truncate(path, 5 * 2**30)
    tracemalloc.start()
    try:
        with pytest.raises(WeightlockError) as refusal:
            kind.read(path)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refusal.value.reason == kind.reason
    assert peak_bytes < 64 * 2**20


# Wrong kinds.


@pytest.mark.parametrize("data", [b"", b" ", b"{}", b"[]", b"null", b"1", b'"text"', b"-----BEGIN PUBLIC KEY-----\n"])
def test_another_kind_of_text(data: bytes, kind: Kind) -> None:
    assert kind.refusal(data) == kind.reason


@pytest.mark.parametrize("other", [*KINDS, "device key", "locked model"])
def test_another_of_our_files(other: str, kind: Kind, lock_scene: Scene, tmp_path: Path) -> None:
    home = lock_scene.box.home
    files: dict[str, Callable[[], bytes]] = {
        "license": lock_scene.issue,
        "request": lock_scene.box.request,
        "trust": (home / "trust.jwks").read_bytes,
        "device key": (home / "device-key.pem").read_bytes,
        "locked model": lambda: lock_pattern(tmp_path / "net.locked", lock_scene.model, 100).read_bytes(),
    }
    if other == kind.name:
        kind.use(files[other]())
    else:
        assert kind.refusal(files[other]()) == kind.reason


def test_in_the_place_of_a_locked_model(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "net.locked"
    path.write_bytes(kind.data)
    with pytest.raises(WeightlockError, match=f"the file is a .*{kind.name}") as refusal:
        read_header(path)
    assert refusal.value.reason == "model_malformed"


# Text.


def test_whitespace_of_json_is_accepted(kind: Kind) -> None:
    """Mail and editors change line ends and indentation. The signed text inside is not changed by that."""
    indented = json.dumps(json.loads(kind.data), indent="\t")
    for data in (indented, indented.replace("\n", "\r\n"), indented.replace("\n", "\r"), f" \r\n\t{indented}\r\n\n"):
        kind.use(data.encode())


@pytest.mark.parametrize("space", ["\v", "\f", "\xa0", "\u2028", "\u200b", "\0", "\ufeff"])
def test_other_whitespace_is_refused(space: str, kind: Kind) -> None:
    for data in (space.encode() + kind.data, kind.data + space.encode(), kind.data.replace(b":", f"{space}:".encode())):
        assert kind.refusal(data) == kind.reason


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_refused(codec: str, kind: Kind) -> None:
    assert kind.refusal(kind.data.decode().encode(codec)) == kind.reason


@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"])
def test_invalid_utf_8_is_refused(bad: bytes, kind: Kind) -> None:
    assert kind.refusal(kind.data[:-1] + b',"z":"' + bad + b'"}') == kind.reason


def test_text_that_is_almost_json_is_refused(kind: Kind) -> None:
    text = kind.data.decode()
    for data in (text[:-1] + ",}", text.replace('"', "'"), "//\n" + text, text.replace(":", "=", 1), text[1:-1]):
        assert kind.refusal(data.encode()) == kind.reason
