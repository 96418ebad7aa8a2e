"""The trust file: public signing keys, each as it must be, and nothing that only looks like one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from licensing.errors import FileAccessError, TrustMalformedError, TrustMissingError, UntrustedVendorError
from licensing.jwk import PublicKey, thumbprint, to_jwk
from licensing.trust import TrustedKeys
from tests.raw_jws import b64


@pytest.fixture(scope="module")
def keys() -> list[PublicKey]:
    return [
        Ed25519PrivateKey.generate().public_key(),
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(),
    ]


@pytest.fixture(scope="module")
def members(keys: list[PublicKey]) -> list[dict[str, Any]]:
    """Returns the members of `keys` in a right trust file."""
    found: list[dict[str, Any]] = json.loads(TrustedKeys({thumbprint(key): key for key in keys}).to_bytes())["keys"]
    return found


def trust_file(*keys: Any, **more: Any) -> bytes:
    return json.dumps({"keys": keys, **more}).encode()


def refused(data: bytes) -> str:
    with pytest.raises(TrustMalformedError) as refusal:
        TrustedKeys.parse(data)
    assert refusal.value.reason == "trust_malformed"
    return refusal.value.message


def test_it_reads_back_with_every_kind_of_key(keys: list[PublicKey], tmp_path: Path) -> None:
    trusted = TrustedKeys({thumbprint(key): key for key in keys})
    (tmp_path / "trust.jwks").write_bytes(trusted.to_bytes())
    read = TrustedKeys.read(tmp_path / "trust.jwks")
    assert read.to_bytes() == trusted.to_bytes()
    for key in keys:
        assert read.find(thumbprint(key)) == key


def test_a_key_that_is_not_there_is_not_trusted(keys: list[PublicKey]) -> None:
    trusted = TrustedKeys({thumbprint(keys[0]): keys[0]})
    for kid in (thumbprint(keys[1]), "A" * 43, thumbprint(keys[0])[:-1], ""):
        with pytest.raises(UntrustedVendorError) as refusal:
            trusted.find(kid)
        assert refusal.value.reason == "untrusted_vendor"


def test_unknown_members_are_ignored(members: list[dict[str, Any]]) -> None:
    """RFC 7517, section 4. Not ignored is what makes a key a private one."""
    data = trust_file({**members[0], "x5c": ["MIIB"], "key_ops": ["sign"], "exp": 0}, issued=True, comment=None)
    assert list(TrustedKeys.parse(data).keys) == [members[0]["kid"]]


CHANGES: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "a private key": lambda key, other: {**key, "d": key.get("x", "AQAB")},
    "a private member without a value": lambda key, other: {**key, "d": None},
    "no kid": lambda key, other: {name: value for name, value in key.items() if name != "kid"},
    "the kid of another key": lambda key, other: {**key, "kid": other["kid"]},
    "a kid that is a name": lambda key, other: {**key, "kid": "vendor-2026"},
    "no alg": lambda key, other: {name: value for name, value in key.items() if name != "alg"},
    "the alg of another key": lambda key, other: {**key, "alg": other["alg"]},
    "the alg none": lambda key, other: {**key, "alg": "none"},
    "the alg HS256": lambda key, other: {**key, "alg": "HS256"},
    "no use": lambda key, other: {name: value for name, value in key.items() if name != "use"},
    "a use for encryption": lambda key, other: {**key, "use": "enc"},
    "another kty": lambda key, other: {**key, "kty": other["kty"]},
    "a symmetric key": lambda key, other: {"kty": "oct", "k": "AAAA", "kid": key["kid"], "alg": "HS256", "use": "sig"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_key_that_is_not_as_it_must_be(
    number: int,
    change: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]],
    members: list[dict[str, Any]],
) -> None:
    TrustedKeys.parse(trust_file(members[number]))
    changed = change(members[number], members[(number + 1) % 3])
    assert "the trust file, keys 1" in refused(trust_file(changed))
    assert "the trust file, keys 2" in refused(trust_file(members[(number + 2) % 3], changed))


def test_the_private_key_is_refused_by_its_name() -> None:
    """A vendor who packs the private key into the trust file must learn what happened."""
    key = Ed25519PrivateKey.generate()
    public_key = key.public_key()
    jwk = {**to_jwk(public_key), "kid": thumbprint(public_key), "alg": "EdDSA", "use": "sig"}
    assert "private key" in refused(trust_file({**jwk, "d": b64(key.private_bytes_raw())}))


@pytest.mark.parametrize(
    ("bits", "exponent"), [(1024, 65537), (2047, 65537), (4097, 65537), (1_000_000, 65537), (2048, 3), (2048, 65539)]
)
def test_rsa_keys_out_of_bounds(bits: int, exponent: int) -> None:
    """A short key can be broken; an operation with a modulus of a million bits takes days."""
    modulus = 2**bits - 1
    jwk = {"kty": "RSA"} | {
        name: b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))
        for name, number in (("n", modulus), ("e", exponent))
    }
    assert "not a valid public key" in refused(trust_file({**jwk, "kid": "A" * 43, "alg": "PS256", "use": "sig"}))


def test_the_same_key_twice_is_refused(members: list[dict[str, Any]]) -> None:
    assert "the same key twice" in refused(trust_file(members[0], {**members[0], "note": "another"}))


def test_no_keys_and_too_many_keys_are_refused(members: list[dict[str, Any]]) -> None:
    refused(trust_file())
    refused(b'{"keys":{}}')
    refused(b'{"keys":[null]}')
    refused(b"{}")
    refused(json.dumps(members[0]).encode())
    keys = [Ed25519PrivateKey.generate().public_key() for _ in range(65)]
    data = TrustedKeys({thumbprint(key): key for key in keys[:64]}).to_bytes()
    assert len(TrustedKeys.parse(data).keys) == 64
    refused(TrustedKeys({thumbprint(key): key for key in keys}).to_bytes())


def test_a_missing_trust_file_has_a_reason_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(TrustMissingError) as refusal:
        TrustedKeys.read(tmp_path / "trust.jwks")
    assert refusal.value.reason == "trust_missing"
    assert "trust.jwks" in refusal.value.message


def test_a_directory_in_the_place_of_the_trust_file(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError) as refusal:
        TrustedKeys.read(tmp_path)
    assert refusal.value.reason == "not_a_file"
