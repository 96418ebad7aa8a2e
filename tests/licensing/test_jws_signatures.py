"""Signatures: any change is refused, and a second signature of a text opens nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from licensing.errors import LicenseMalformedError, LicensingError, SignatureInvalidError
from licensing.jwk import thumbprint
from licensing.jws import PrivateKey, SignedText, parse_signed, sign_claims, verify_signature
from licensing.trust import TrustedKeys
from tests.lock_scene import Scene
from tests.raw_jws import b64, from_b64, header_of, raw_jws

TYPE = "weightlock-license+jwt"
CLAIMS = {"iss": "Löwe AI", "exp": 1, "list": [1, {"a": True}]}
PAYLOAD = '{"exp":1,"iss":"Löwe AI","list":[1,{"a":true}]}'.encode()
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture(scope="module")
def keys() -> dict[str, PrivateKey]:
    return {
        "EdDSA": Ed25519PrivateKey.generate(),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "PS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    }


@pytest.fixture(params=["EdDSA", "ES256", "PS256"])
def key(request: pytest.FixtureRequest, keys: dict[str, PrivateKey]) -> PrivateKey:
    return keys[request.param]


def parse(text: str) -> SignedText:
    return parse_signed(text, TYPE, "license", LicenseMalformedError)


def refused(text: str, key: PrivateKey) -> str:
    with pytest.raises(LicensingError) as refusal:
        verify_signature(parse(text), key.public_key(), "license")
    return refusal.value.reason


def test_every_change_of_the_signature_is_refused(key: PrivateKey) -> None:
    signed, _, signature = sign_claims(CLAIMS, key, TYPE).rpartition(".")
    data = from_b64(signature)
    changes = [bytes([*data[:place], data[place] ^ 0x10, *data[place + 1 :]]) for place in range(len(data))]
    changes += [b"", data[:-1], data + b"\0", b"\0" + data, bytes(len(data)), b"\xff" * len(data), data * 2]
    for changed in changes:
        assert refused(f"{signed}.{b64(changed)}", key) == "signature_invalid"


def test_every_change_of_the_signed_bytes_is_refused(key: PrivateKey) -> None:
    text = sign_claims(CLAIMS, key, TYPE)
    header, payload, signature = text.split(".")
    for changed in (
        f"{header}.{b64(PAYLOAD.replace(b'1', b'2'))}.{signature}",
        f"{b64(header_of(key, TYPE))}.{payload}.{signature}",
        f"{header}.{b64(PAYLOAD + b' ')}.{signature}",
        f"{header}..{signature}",
    ):
        assert refused(changed, key) == "signature_invalid"


def test_eddsa_and_pss_have_no_second_signature(keys: dict[str, PrivateKey]) -> None:
    """Adding the order of the group, or the modulus, leaves the equations true; verifiers must compare the range."""
    signed, _, signature = sign_claims(CLAIMS, keys["EdDSA"], TYPE).rpartition(".")
    data = from_b64(signature)
    scalar = int.from_bytes(data[32:], "little") + ED25519_ORDER
    assert refused(f"{signed}.{b64(data[:32] + scalar.to_bytes(32, 'little'))}", keys["EdDSA"]) == "signature_invalid"
    key = keys["PS256"]
    assert isinstance(key, rsa.RSAPrivateKey)
    modulus, number = key.public_key().public_numbers().n, 2**2048
    while number >= 2**2048:  # Each signature has its own salt; soon there is one to which the modulus can be added.
        signed, _, signature = sign_claims(CLAIMS, key, TYPE).rpartition(".")
        number = int.from_bytes(from_b64(signature), "big") + modulus
    assert refused(f"{signed}.{b64(number.to_bytes(256, 'big'))}", key) == "signature_invalid"


def test_the_second_signature_of_ecdsa_is_another_text(keys: dict[str, PrivateKey]) -> None:
    """(r, -s) verifies wherever (r, s) does; for EdDSA and PSS nobody can make such a second signature.

    It gives nobody anything: the key-encryption key depends on the license's exact text, signature included, so that a
    license with its second signature yields no content key. See the test below.
    """
    key = keys["ES256"]
    signed, _, signature = sign_claims(CLAIMS, key, TYPE).rpartition(".")
    other = f"{signed}.{b64(second_signature(from_b64(signature)))}"
    verify_signature(parse(other), key.public_key(), "license")
    assert parse(other).text != f"{signed}.{signature}"


def second_signature(signature: bytes) -> bytes:
    return signature[:32] + (P256_ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")


def test_a_license_with_the_second_signature_of_ecdsa_yields_no_key(
    keys: dict[str, PrivateKey], lock_scene: Scene, tmp_path: Path
) -> None:
    key = keys["ES256"]
    (tmp_path / "trust.jwks").write_bytes(TrustedKeys({thumbprint(key.public_key()): key.public_key()}).to_bytes())
    members = json.loads(lock_scene.issue(signing_key=key))
    path = tmp_path / "acme.lic"
    path.write_text(json.dumps(members))
    assert lock_scene.unlock(path, trust=tmp_path / "trust.jwks").content_key == lock_scene.model.content_key
    signed, _, signature = members["license"].rpartition(".")
    path.write_text(json.dumps({**members, "license": f"{signed}.{b64(second_signature(from_b64(signature)))}"}))
    with pytest.raises(LicensingError) as refusal:
        lock_scene.unlock(path, trust=tmp_path / "trust.jwks")
    assert refusal.value.reason == "grant_invalid"


def test_another_key_of_the_same_kind_is_refused(key: PrivateKey, keys: dict[str, PrivateKey]) -> None:
    others: dict[type, Any] = {
        Ed25519PrivateKey: Ed25519PrivateKey.generate,
        ec.EllipticCurvePrivateKey: lambda: ec.generate_private_key(ec.SECP256R1()),
        rsa.RSAPrivateKey: lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    }
    other = next(make() for kind, make in others.items() if isinstance(key, kind))
    header = header_of(key, TYPE)  # The kid of the right key does not help.
    assert refused(raw_jws(header, PAYLOAD, other), key) == "signature_invalid"


def test_a_key_of_another_kind_is_refused(keys: dict[str, PrivateKey]) -> None:
    for name, key in keys.items():
        text = sign_claims(CLAIMS, key, TYPE)
        for other_name, other in keys.items():
            if other_name != name:
                assert refused(text, other) == "signature_invalid"


def test_the_error_shows_neither_text_nor_signature(key: PrivateKey) -> None:
    text = sign_claims({"secret": "S3cret"}, key, TYPE)
    with pytest.raises(SignatureInvalidError) as refusal:
        verify_signature(parse(text[:-8] + "AAAAAAAA"), key.public_key(), "license")
    assert refusal.value.message == "the signature of the license is not valid"
