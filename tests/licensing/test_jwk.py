"""JSON Web Keys: three kinds, each in one spelling, and bounded before it is used."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from licensing.jwk import PublicKey, algorithm_of, from_jwk, thumbprint, to_jwk
from tests.raw_jws import b64, from_b64

RFC_8037_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RFC_7638_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
    "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
    "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
    "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
}


@pytest.fixture(scope="module")
def keys() -> dict[str, PublicKey]:
    return {
        "EdDSA": Ed25519PrivateKey.generate().public_key(),
        "ES256": ec.generate_private_key(ec.SECP256R1()).public_key(),
        "PS256": rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(),
    }


@pytest.mark.parametrize(
    ("jwk", "expected"),
    [
        (RFC_8037_KEY, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        (RFC_7638_KEY, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
    ],
)
def test_the_thumbprints_of_the_rfcs(jwk: dict[str, str], expected: str) -> None:
    """RFC 8037, appendix A.3, and RFC 7638, section 3.1."""
    assert thumbprint(from_jwk(jwk)) == expected


def test_each_key_has_one_algorithm_and_reads_back(keys: dict[str, PublicKey]) -> None:
    for algorithm, key in keys.items():
        assert algorithm_of(key) == algorithm
        assert from_jwk(to_jwk(key)) == key
        assert thumbprint(from_jwk({**to_jwk(key), "note": 1})) == thumbprint(key)


def test_elliptic_coordinates_keep_their_leading_zeros() -> None:
    """One of 256 keys has such a coordinate, and would have another thumbprint without its zeros."""
    key = next(
        key
        for key in (ec.derive_private_key(number, ec.SECP256R1()).public_key() for number in range(1, 10_000))
        if key.public_numbers().x < 2**248
    )
    assert from_b64(to_jwk(key)["x"])[0] == 0
    assert from_jwk(to_jwk(key)) == key


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP256K1()], ids=lambda curve: curve.name)
def test_other_curves_have_no_jwk_here(curve: ec.EllipticCurve) -> None:
    with pytest.raises(ValueError, match="P-256"):
        to_jwk(ec.generate_private_key(curve).public_key())


def encoded(number: int, length: int | None = None) -> str:
    return b64(number.to_bytes(length or (number.bit_length() + 7) // 8, "big"))


def bad_jwks(keys: dict[str, PublicKey]) -> list[dict[str, Any]]:
    ed25519, p256, rsa_key = (to_jwk(key) for key in keys.values())
    point, modulus = from_b64(p256["x"]), int.from_bytes(from_b64(rsa_key["n"]), "big")
    return [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": ["RSA"], "n": rsa_key["n"], "e": "AQAB"},
        {**ed25519, "d": ed25519["x"]},
        {**rsa_key, "d": "AQAB"},
        {**p256, "d": None},
        {**ed25519, "kty": "okp"},
        {**ed25519, "crv": "X25519"},
        {**ed25519, "crv": None},
        {**ed25519, "x": ed25519["x"] + "="},
        {**ed25519, "x": ed25519["x"][:-1]},
        {**ed25519, "x": encoded(0, 31)},
        {**ed25519, "x": encoded(0, 33)},
        {**ed25519, "x": list(from_b64(ed25519["x"]))},
        {**p256, "crv": "P-384"},
        {**p256, "y": p256["x"]},
        {**p256, "x": b64(b"\0" + point)},
        {**p256, "x": encoded(0, 32), "y": encoded(0, 32)},
        {**p256, "x": encoded(2**256 - 1), "y": p256["y"]},
        {**rsa_key, "n": b64(b"\0" + from_b64(rsa_key["n"]))},
        {**rsa_key, "e": "AAEAAQ"},
        {**rsa_key, "e": "Aw"},
        {**rsa_key, "e": "AQ"},
        {**rsa_key, "e": ""},
        {**rsa_key, "n": ""},
        {**rsa_key, "n": encoded(modulus >> 1)},
        {**rsa_key, "n": encoded(2**1023 + 1)},
        {**rsa_key, "n": encoded(2**4096 + 1)},
    ]


def test_every_other_key_is_refused_with_one_kind_of_error(keys: dict[str, PublicKey]) -> None:
    for jwk in bad_jwks(keys):
        with pytest.raises(ValueError, match=r"^it "):
            from_jwk(jwk)


def test_a_private_key_is_refused_as_such(keys: dict[str, PublicKey]) -> None:
    """A vendor who sends the private key by mistake must hear about it."""
    for jwk in ({**RFC_8037_KEY, "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}, {"kty": "oct", "k": "AAAA"}):
        with pytest.raises(ValueError, match="private key"):
            from_jwk(jwk)


@pytest.mark.parametrize("kty", ["RSA", "EC", "OKP"])
def test_huge_numbers_are_refused_before_they_are_used(kty: str) -> None:
    """One operation with a modulus and an exponent of this length would take days."""
    huge = b64(b"\xff" * 190_000)
    jwk = {"kty": kty, "crv": "P-256" if kty == "EC" else "Ed25519", "x": huge, "y": huge, "n": huge, "e": huge}
    for exponent in (huge, "AQAB"):
        with pytest.raises(ValueError, match="valid public key"):
            from_jwk({**jwk, "e": exponent})
