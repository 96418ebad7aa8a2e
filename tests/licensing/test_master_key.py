"""The master key file and what is sealed under the master key."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from licensing.errors import PassphraseError, UsageError, VendorHomeError
from licensing.master_key import SCRYPT_COST, MasterKey
from licensing.strict_json import canonical

COST = 2**10
KEY = bytes(range(32))


def members(data: bytes) -> dict[str, Any]:
    parsed = json.loads(data)
    assert isinstance(parsed, dict)
    return parsed


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def refuse_to_ask() -> str:
    raise AssertionError("nobody may be asked for a passphrase")


def test_without_a_passphrase_the_file_opens_and_nobody_is_asked() -> None:
    sealed = MasterKey(KEY).seal("content-key", "a", b"secret")
    reopened = MasterKey.parse(MasterKey(KEY).to_bytes(), refuse_to_ask)
    assert reopened.open_sealed("content-key", "a", sealed) == b"secret"


def test_with_the_passphrase_the_file_opens() -> None:
    data = MasterKey(KEY).to_bytes("correct horse", COST)
    sealed = MasterKey(KEY).seal("content-key", "a", b"secret")
    assert MasterKey.parse(data, lambda: "correct horse").open_sealed("content-key", "a", sealed) == b"secret"


def test_a_passphrase_typed_in_another_unicode_form_is_the_same() -> None:
    data = MasterKey(KEY).to_bytes("Lo\u0308we", COST)
    MasterKey.parse(data, lambda: "L\u00f6we")


def test_a_passphrase_of_bytes_that_are_no_text_works() -> None:
    data = MasterKey(KEY).to_bytes("\udcff\udcfe", COST)
    MasterKey.parse(data, lambda: "\udcff\udcfe")


@pytest.mark.parametrize("passphrase", ["", "correct horsf", "correct horse ", "Correct horse"])
def test_a_wrong_passphrase_is_refused(passphrase: str) -> None:
    data = MasterKey(KEY).to_bytes("correct horse", COST)
    with pytest.raises(PassphraseError) as refusal:
        MasterKey.parse(data, lambda: passphrase)
    assert refusal.value.reason == "passphrase_wrong"


def test_a_missing_passphrase_is_refused() -> None:
    with pytest.raises(PassphraseError) as refusal:
        MasterKey.parse(MasterKey(KEY).to_bytes("correct horse", COST))
    assert refusal.value.reason == "passphrase_required"


def test_an_empty_passphrase_protects_nothing_and_is_refused() -> None:
    with pytest.raises(UsageError):
        MasterKey(KEY).to_bytes("", COST)


def test_the_file_is_scrypt_and_aes_key_wrap_as_the_standards_have_them() -> None:
    fields = members(MasterKey(KEY).to_bytes("correct horse", COST))
    stretched = Scrypt(salt=decoded(fields["salt"]), length=32, n=COST, r=8, p=1).derive(b"correct horse")
    assert aes_key_unwrap(stretched, decoded(fields["wrapped"])) == KEY
    assert (fields["version"], fields["protection"], fields["n"], fields["r"], fields["p"]) == (1, "scrypt", COST, 8, 1)


def test_a_guess_at_the_passphrase_is_expensive_by_default() -> None:
    assert SCRYPT_COST >= 2**16
    assert members(MasterKey(KEY).to_bytes("correct horse"))["n"] == SCRYPT_COST


def test_generated_keys_and_salts_differ() -> None:
    assert MasterKey.generate().to_bytes() != MasterKey.generate().to_bytes()
    protected = [members(MasterKey(KEY).to_bytes("p", COST)) for _ in range(2)]
    assert protected[0]["salt"] != protected[1]["salt"]


@pytest.mark.parametrize(
    "change",
    [
        {"n": 2**30},
        {"n": 2**10 + 1},
        {"n": 2},
        {"r": 2**20},
        {"p": 1000},
        {"n": "1024"},
        {"salt": "AAAA"},
        {"wrapped": "A" * 43},
        {"wrapped": "*" * 54},
        {"version": 2},
        {"protection": "argon2"},
        {"protection": "none"},
        {"extra": 1},
    ],
    ids=str,
)
def test_a_changed_file_is_refused_before_any_work(change: dict[str, Any]) -> None:
    fields = members(MasterKey(KEY).to_bytes("correct horse", COST))
    with pytest.raises(VendorHomeError) as refusal:
        MasterKey.parse(canonical({**fields, **change}), refuse_to_ask)
    assert refusal.value.reason == "vendor_home_invalid"


@pytest.mark.parametrize(
    "change", [{"key": "AAAA"}, {"key": ""}, {"salt": "A" * 22}, {"version": True}, {"protection": "scrypt"}], ids=str
)
def test_a_changed_unprotected_file_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(VendorHomeError):
        MasterKey.parse(canonical({**members(MasterKey(KEY).to_bytes()), **change}), refuse_to_ask)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"{" * 5000, b'{"version":1,"version":1}'])
def test_what_is_no_master_key_file_is_refused(data: bytes) -> None:
    with pytest.raises(VendorHomeError):
        MasterKey.parse(data)


def test_the_file_has_one_form() -> None:
    data = MasterKey(KEY).to_bytes()
    for other in (data + b"\n", data.replace(b",", b", "), b"\xef\xbb\xbf" + data):
        with pytest.raises(VendorHomeError):
            MasterKey.parse(other)


def test_every_changed_byte_of_a_sealed_secret_is_noticed() -> None:
    sealed = MasterKey(KEY).seal("content-key", "a", b"secret")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(VendorHomeError):
            MasterKey(KEY).open_sealed("content-key", "a", bytes(changed))


def test_a_shortened_or_extended_sealed_secret_is_refused() -> None:
    sealed = MasterKey(KEY).seal("content-key", "a", b"secret")
    for other in [*(sealed[:length] for length in range(len(sealed))), sealed + b"\0"]:
        with pytest.raises(VendorHomeError):
            MasterKey(KEY).open_sealed("content-key", "a", other)


@pytest.mark.parametrize(
    ("key", "purpose", "name"),
    [(KEY, "content-key", "b"), (KEY, "signing-key", "a"), (bytes(32), "content-key", "a"), (KEY, "content-keya", "")],
)
def test_a_sealed_secret_opens_for_its_own_key_purpose_and_name_alone(key: bytes, purpose: str, name: str) -> None:
    sealed = MasterKey(KEY).seal("content-key", "a", b"secret")
    with pytest.raises(VendorHomeError):
        MasterKey(key).open_sealed(purpose, name, sealed)


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    assert len({MasterKey(KEY).seal("content-key", "a", b"secret") for _ in range(50)}) == 50


def test_a_sealed_secret_is_aes_gcm_under_the_key_of_its_purpose() -> None:
    def part(data: bytes) -> bytes:
        return len(data).to_bytes(8, "big") + data

    info = part(b"weightlock/1/vendor") + part(b"content-key")
    subkey = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(KEY)
    sealed = MasterKey(KEY).seal("content-key", "a", b"secret")
    assert AESGCM(subkey).decrypt(sealed[:12], sealed[12:], part(b"content-key") + part(b"a")) == b"secret"


def test_the_key_does_not_show() -> None:
    assert repr(MasterKey(KEY)) == "MasterKey()"
