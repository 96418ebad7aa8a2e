"""Where the content key comes from: exactly one of a key and a license, each in the forms that callers have."""

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from cryptors import CryptorFactory, ModelType
from cryptors.keys import KeySource
from licensing.content_key import content_key_base64, key_id, new_content_key, read_content_key
from licensing.errors import ContentKeyInvalidError, FileAccessError, UsageError, WeightlockError
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.licensed_box import LicensedBox

TEXT = content_key_base64(CONTENT_KEY)
# Bytes whose base64 form uses both characters that differ between the standard and the URL-safe alphabet.
BOTH = bytes.fromhex("fbff" * 16)


# Forms of a content key.


@pytest.mark.parametrize("key", [CONTENT_KEY, bytearray(CONTENT_KEY), TEXT.encode(), bytearray(TEXT.encode()), TEXT])
def test_form(key: bytes | str) -> None:
    assert read_content_key(key) == CONTENT_KEY


@pytest.mark.parametrize(
    "content",
    [CONTENT_KEY, TEXT.encode(), f"{TEXT}\n".encode(), f"{TEXT}\r\n".encode()],
    ids=["bytes", "text", "text with a line feed", "text with a line break of Windows"],
)
def test_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    assert read_content_key(tmp_path / "key") == CONTENT_KEY
    assert read_content_key(str(tmp_path / "key")) == CONTENT_KEY


def test_path_of_44_characters_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = content_key_base64(BOTH)
    assert len(name) == 44
    assert read_content_key(name) == BOTH
    Path(name).write_bytes(CONTENT_KEY)
    assert read_content_key(name) == CONTENT_KEY


@pytest.mark.parametrize(
    "key",
    [
        b"",
        CONTENT_KEY[:31],
        CONTENT_KEY + b"\n",
        TEXT[:43].encode(),
        TEXT.encode() + b"=",
        TEXT.replace("=", "A").encode(),
        base64.b64encode(BOTH),
        TEXT.encode().replace(b"A", b" ", 1),
        TEXT.encode()[:42] + b"9=",
        b"\xff" * 44,
        "é" * 44,
        7,
        None,
        [CONTENT_KEY],
    ],
    ids=repr,
)
def test_what_is_no_key(key: Any) -> None:
    """Among them base64 of 33 bytes, the standard alphabet, and a last character whose unused bits are set."""
    with pytest.raises(ContentKeyInvalidError) as caught:
        read_content_key(key)
    assert caught.value.reason == "crypt_key_invalid"
    assert TEXT[:20] not in caught.value.message


@pytest.mark.parametrize("content", [b"", CONTENT_KEY[:31], CONTENT_KEY + b"1", TEXT.encode() + b" ", bytes(10_000)])
def test_file_of_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ContentKeyInvalidError) as caught:
        read_content_key(tmp_path / "key")
    assert caught.value.reason == "crypt_key_invalid"


@pytest.mark.parametrize("key", [TEXT[:43], "missing.key", Path("missing.key"), Path(TEXT)])
def test_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileAccessError) as caught:
        read_content_key(key)
    assert caught.value.reason == "file_not_found"


# Making one.


def test_generated_key_file(tmp_path: Path) -> None:
    cryptor = CryptorFactory.instance(ModelType.MODEL_TORCH)
    text = cryptor.generate_crypt_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == text
    assert len(text) == 44
    assert read_content_key(tmp_path / "key") == read_content_key(text)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(WeightlockError) as caught:
        cryptor.generate_crypt_key(tmp_path / "key")
    assert caught.value.reason == "output_exists"
    assert (tmp_path / "key").read_bytes() == text
    assert cryptor.generate_crypt_key(str(tmp_path / "other")) != text


# One source.


def test_neither_or_both() -> None:
    for arguments in ({}, {"crypt_key": CONTENT_KEY, "license": "acme.lic"}):
        with pytest.raises(UsageError) as caught:
            KeySource(**arguments)  # type: ignore[arg-type]
        assert caught.value.reason == "usage"


def test_key_itself(tmp_path: Path) -> None:
    CryptorFactory.instance("safetensors").encrypt(tensors(tmp_path), new_content_key(), tmp_path / "m.locked")
    assert KeySource(crypt_key=TEXT).content_key(tmp_path / "m.locked") == CONTENT_KEY


def test_license(tmp_path: Path, licensed_box: LicensedBox) -> None:
    key = new_content_key()
    header = CryptorFactory.instance("safetensors").encrypt(tensors(tmp_path), key, tmp_path / "m.locked")
    license = licensed_box.license(tmp_path / "acme.lic", [(header, key)])
    assert KeySource(**licensed_box.unlocking(license)).content_key(tmp_path / "m.locked") == key


def test_trust_and_home_by_default(tmp_path: Path, licensed_box: LicensedBox, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the command line: WEIGHTLOCK_HOME, and `trust.jwks` in it."""
    key, home = new_content_key(), tmp_path / "home"
    header = CryptorFactory.instance("safetensors").encrypt(tensors(tmp_path), key, tmp_path / "m.locked")
    license = licensed_box.license(tmp_path / "acme.lic", [(header, key)])
    home.mkdir()
    (home / "trust.jwks").write_bytes(licensed_box.trust.read_bytes())
    for name in ("device-key.pem", "time-state.json"):
        (home / name).write_bytes((licensed_box.home / name).read_bytes())
    monkeypatch.setenv("WEIGHTLOCK_HOME", str(home))
    source = KeySource(license=license, hardware=licensed_box.hardware)
    assert source.content_key(tmp_path / "m.locked") == key


def test_missing_license(tmp_path: Path, licensed_box: LicensedBox) -> None:
    write_container(tmp_path / "m.locked", {"a": b"1"})
    with pytest.raises(FileAccessError) as caught:
        KeySource(**licensed_box.unlocking(tmp_path / "missing.lic")).content_key(tmp_path / "m.locked")
    assert caught.value.reason == "file_not_found"


def test_key_is_not_shown() -> None:
    for key in (CONTENT_KEY, TEXT):
        shown = repr(KeySource(crypt_key=key))
        assert repr(key) not in shown
        assert key_id(CONTENT_KEY) not in shown


def tensors(folder: Path) -> Path:
    """Writes the smallest safetensors file."""
    path = folder / f"{os.urandom(4).hex()}.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    return path
