"""Signed texts: the algorithm comes from the key, the type is explicit, and the header can name nothing else."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from licensing.errors import (
    LicenseMalformedError,
    LicensingError,
    RequestMalformedError,
)
from licensing.jwk import algorithm_of, thumbprint, to_jwk
from licensing.jws import PrivateKey, SignedText, parse_signed, sign_claims, verify_signature
from licensing.license import LICENSE_TYPE, LicenseFile
from licensing.request import REQUEST_TYPE, read_request
from tests.lock_scene import Scene
from tests.raw_jws import b64, from_b64, header_of, raw_jws

TYPE = "weightlock-license+jwt"
CLAIMS = {"iss": "Löwe AI", "exp": 1, "list": [1, {"a": True}]}
PAYLOAD = '{"exp":1,"iss":"Löwe AI","list":[1,{"a":true}]}'.encode()


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


def test_a_signed_text_of_every_algorithm_reads_back(key: PrivateKey) -> None:
    text = sign_claims(CLAIMS, key, TYPE)
    signed = parse(text)
    verify_signature(signed, key.public_key(), "license")
    assert (signed.algorithm, signed.kid) == (algorithm_of(key.public_key()), thumbprint(key.public_key()))
    assert (signed.text, signed.payload) == (text, PAYLOAD)
    assert signed.claims("license", LicenseMalformedError) == CLAIMS
    assert json.loads(from_b64(text.split(".")[0])) == {"alg": signed.algorithm, "kid": signed.kid, "typ": TYPE}


def test_what_tests_sign_byte_by_byte_is_accepted(key: PrivateKey) -> None:
    """The control for the refusals below."""
    verify_signature(parse(raw_jws(header_of(key, TYPE), PAYLOAD, key)), key.public_key(), "license")


# The header.


@pytest.mark.parametrize(
    "members",
    [
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}},
        {"jku": "https://keys.example/jwks"},
        {"x5c": ["MIIB"]},
        {"x5u": "https://keys.example/cert"},
        {"x5t#S256": "A" * 43},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"alg": None},
        {"kid": None},
        {"typ": None},
        {"alg": ["EdDSA"]},
        {"alg": "A" * 11},
        {"alg": ""},
        {"kid": "A" * 42},
        {"kid": "A" * 42 + "="},
        {"kid": 1},
        {"typ": "JWT"},
        {"typ": "weightlock-request+jwt"},
        {"typ": TYPE.upper()},
        {"typ": f"application/{TYPE}"},
        {"typ": "x" * 600},
    ],
    ids=str,
)
def test_a_header_with_anything_else_is_refused_before_a_key_is_looked_up(
    members: dict[str, Any], keys: dict[str, PrivateKey]
) -> None:
    """It does not matter that the signature is right."""
    key = keys["EdDSA"]
    with pytest.raises(LicenseMalformedError):
        parse(raw_jws(header_of(key, TYPE, **members), PAYLOAD, key))


@pytest.mark.parametrize("header", [b"", b"{}", b"[]", b"null", b"{", b"\xff", b'{"alg":"EdDSA","alg":"EdDSA"}'])
def test_a_header_that_is_no_object_of_three_members_is_refused(header: bytes, keys: dict[str, PrivateKey]) -> None:
    with pytest.raises(LicenseMalformedError):
        parse(raw_jws(header, PAYLOAD, keys["EdDSA"]))


def test_a_header_of_more_than_512_bytes_is_refused(keys: dict[str, PrivateKey]) -> None:
    key = keys["EdDSA"]
    header = header_of(key, TYPE)
    parse(raw_jws(header.ljust(512), PAYLOAD, key))
    with pytest.raises(LicenseMalformedError, match="too large"):
        parse(raw_jws(header.ljust(513), PAYLOAD, key))


def test_a_text_that_is_not_three_canonical_parts_is_refused(key: PrivateKey) -> None:
    text = sign_claims(CLAIMS, key, TYPE)
    header, payload, signature = text.split(".")
    for changed in (
        "",
        ".",
        "..",
        "...",
        f"{header}.{payload}",
        f"{text}.",
        f".{text}",
        f"{text}=",
        f"{header}=.{payload}.{signature}",
        f"{header}.{payload} .{signature}",
        f"{header}.\n{payload}.{signature}",
        text.replace(".", ","),
        f"{header}.{payload}.{signature[:-1]}/",
        json.dumps({"protected": header, "payload": payload, "signature": signature}),
    ):
        with pytest.raises(LicenseMalformedError):
            parse(changed)


# The algorithm.


def test_the_algorithm_none_is_refused(key: PrivateKey) -> None:
    for algorithm in ("none", "None", "NONE", "nOnE"):
        header = header_of(key, TYPE, alg=algorithm)
        assert refused(f"{b64(header)}.{b64(PAYLOAD)}.", key) == "signature_invalid"
        assert refused(raw_jws(header, PAYLOAD, key), key) == "signature_invalid"


def test_a_public_key_is_no_secret_of_hs256(key: PrivateKey) -> None:
    """Who verifies by the header's algorithm takes the public key, which everybody has, for the secret of an HMAC."""
    public_key = key.public_key()
    encodings = (Encoding.PEM, Encoding.DER)
    secrets = [public_key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo) for encoding in encodings]
    secrets += [from_b64(to_jwk(public_key).get("x", ""))]
    for algorithm, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
        signed = f"{b64(header_of(key, TYPE, alg=algorithm))}.{b64(PAYLOAD)}"
        for secret in secrets:
            mac = hmac.digest(secret, signed.encode(), digest)
            assert refused(f"{signed}.{b64(mac)}", key) == "signature_invalid"


def test_an_algorithm_of_another_key_is_refused(key: PrivateKey) -> None:
    """The signature is right in each case, and only the header's word is not the key's."""
    right = algorithm_of(key.public_key())
    for algorithm in {"EdDSA", "Ed25519", "ES256", "ES256K", "PS256", "PS384", "RS256", "HS256"} - {right}:
        header = header_of(key, TYPE, alg=algorithm)
        assert refused(raw_jws(header, PAYLOAD, key), key) == "signature_invalid"


def test_pkcs_1_signatures_and_other_salts_are_refused(keys: dict[str, PrivateKey]) -> None:
    key = keys["PS256"]
    assert isinstance(key, rsa.RSAPrivateKey)
    signed = f"{b64(header_of(key, TYPE))}.{b64(PAYLOAD)}"
    mgf = padding.MGF1(hashes.SHA256())
    paddings: list[Any] = [padding.PSS(mgf, salt_length) for salt_length in (0, 20, 31, 33, 64)]
    for wrong in (padding.PKCS1v15(), *paddings, padding.PSS(padding.MGF1(hashes.SHA1()), 32)):
        signature = key.sign(signed.encode(), wrong, hashes.SHA256())
        assert refused(f"{signed}.{b64(signature)}", key) == "signature_invalid"


def test_der_signatures_of_ecdsa_are_refused(keys: dict[str, PrivateKey]) -> None:
    key = keys["ES256"]
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signed = f"{b64(header_of(key, TYPE))}.{b64(PAYLOAD)}"
    signature = key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    assert refused(f"{signed}.{b64(signature)}", key) == "signature_invalid"


# One kind of text is never taken for another, even if the same key signs both.


def test_a_request_is_no_license_though_its_signature_is_right(lock_scene: Scene) -> None:
    license, request = json.loads(lock_scene.issue()), json.loads(lock_scene.box.request())
    with pytest.raises(LicenseMalformedError, match="of another kind"):
        LicenseFile.parse(json.dumps({**license, "license": request["request"]}).encode())


def test_a_license_is_no_request_though_its_signature_is_right(lock_scene: Scene) -> None:
    """Signed by the device key, with the right header for a license: only the type tells them apart."""
    key, payload = lock_scene.box.device_key._private_key, json.loads(lock_scene.box.request())["request"].split(".")[1]
    for typ, accepted in ((REQUEST_TYPE, True), (LICENSE_TYPE, False)):
        data = json.dumps({"request": raw_jws(header_of(key, typ), from_b64(payload), key)}).encode()
        if accepted:
            assert read_request(data).thumbprint == lock_scene.box.device_key.thumbprint
        else:
            with pytest.raises(RequestMalformedError, match="of another kind"):
                read_request(data)
