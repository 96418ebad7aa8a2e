"""Content keys in each of their forms, and everything that is none."""

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from licensing.content_key import content_key_base64, key_id, new_content_key, read_content_key
from licensing.errors import ContentKeyInvalidError, FileAccessError

KEY = bytes(range(200, 232))
TEXT = base64.urlsafe_b64encode(KEY).decode()


def test_new_keys_are_32_bytes_and_all_different() -> None:
    keys = {new_content_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {32}


def test_the_key_id_is_128_bits_of_a_framed_hash() -> None:
    frames = bytes(7) + b"\x13weightlock/1/key-id" + bytes(7) + b"\x20" + KEY
    assert key_id(KEY) == hashlib.sha256(frames).hexdigest()[:32]


def test_the_text_form_is_the_one_of_fernet() -> None:
    assert content_key_base64(KEY) == TEXT
    assert len(TEXT) == 44
    assert set("-_") & set(TEXT)  # The key was chosen so that the alphabets differ.


@pytest.mark.parametrize("given", [KEY, bytearray(KEY), TEXT, TEXT.encode(), bytearray(TEXT.encode())])
def test_a_key_in_memory(given: Any) -> None:
    assert read_content_key(given) == KEY


@pytest.mark.parametrize("content", [KEY, TEXT.encode(), TEXT.encode() + b"\n", TEXT.encode() + b"\r\n\r\n"])
def test_a_key_in_a_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "content.key"
    path.write_bytes(content)
    assert read_content_key(path) == KEY
    assert read_content_key(str(path)) == KEY


def test_a_raw_key_that_ends_like_a_line_is_kept_whole(tmp_path: Path) -> None:
    key = bytes(30) + b"\r\n"
    (tmp_path / "content.key").write_bytes(key)
    assert read_content_key(tmp_path / "content.key") == key


def test_a_path_of_44_characters_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "a" * 44
    (tmp_path / name).write_bytes(KEY)
    assert read_content_key(name) == KEY


WRONG = [
    b"",
    KEY[:-1],
    KEY + b"\0",
    TEXT[:-1].encode(),
    (TEXT + "=").encode(),
    TEXT.replace("-", "+").replace("_", "/").encode(),
    (TEXT[:-2] + chr(ord(TEXT[-2]) + 1) + "=").encode(),
    b" " + TEXT.encode(),
    TEXT.encode() + b" ",
    TEXT[:20].encode() + b"\n" + TEXT[20:].encode(),
    KEY.hex().encode(),
    "ä".encode() * 22,
]


@pytest.mark.parametrize("content", WRONG)
def test_anything_else_is_refused_without_being_shown(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "content.key"
    path.write_bytes(content)
    for given in (content, path):
        with pytest.raises(ContentKeyInvalidError) as refusal:
            read_content_key(given)
        assert refusal.value.reason == "crypt_key_invalid"
        assert TEXT[:12] not in repr([refusal.value.message, refusal.value.hints])


@pytest.mark.parametrize("given", [None, 32, ["key"], memoryview(KEY)])
def test_a_key_of_another_type_is_refused(given: Any) -> None:
    with pytest.raises(ContentKeyInvalidError):
        read_content_key(given)


@pytest.mark.parametrize("name", ["nowhere.key", "x" * 45, "A" * 5000, "a\0b"])
def test_a_path_without_a_file_says_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileAccessError) as refusal:
        read_content_key(os.path.join(tmp_path, name))
    assert refusal.value.reason in ("file_not_found", "file_unreadable")


def test_a_text_of_44_characters_that_is_no_path_and_no_key() -> None:
    for text in ("!" * 44, "\0" * 44, "ä" * 44):
        with pytest.raises(ContentKeyInvalidError):
            read_content_key(text)


def test_a_directory_or_a_large_file_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError) as refusal:
        read_content_key(tmp_path)
    assert refusal.value.reason == "not_a_file"
    with open(tmp_path / "model.onnx", "wb") as file:
        file.truncate(10**10)
    with pytest.raises(ContentKeyInvalidError):
        read_content_key(tmp_path / "model.onnx")
