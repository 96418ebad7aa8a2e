"""Public keys as JSON Web Keys (RFC 7517, RFC 7518, RFC 8037) and their thumbprints (RFC 7638).

docs/spec/license.md, section 4.
"""

import hashlib
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from licensing.encoding import b64url_decode, b64url_encode
from licensing.strict_json import canonical

__all__ = ["THUMBPRINT_PATTERN", "PublicKey", "algorithm_of", "from_jwk", "thumbprint", "to_jwk"]

PublicKey = Ed25519PublicKey | RSAPublicKey | EllipticCurvePublicKey

THUMBPRINT_PATTERN = "[A-Za-z0-9_-]{43}"

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 4096

_REQUIRED_MEMBERS = {"OKP": ("kty", "crv", "x"), "EC": ("kty", "crv", "x", "y"), "RSA": ("kty", "n", "e")}


def algorithm_of(key: PublicKey) -> str:
    """Returns the one JWS algorithm (RFC 7518, RFC 8037) that a key may be used with here."""
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA"
    return "PS256" if isinstance(key, RSAPublicKey) else "ES256"


def to_jwk(key: PublicKey) -> dict[str, str]:
    """Returns the required members of a key's JWK: what its thumbprint is made of, and nothing else.

    Raises:
        ValueError: an elliptic curve other than P-256.
    """
    if isinstance(key, Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(key.public_bytes_raw())}
    if isinstance(key, RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": b64url_encode(_unsigned(numbers.n)), "e": b64url_encode(_unsigned(numbers.e))}
    if not isinstance(key.curve, SECP256R1):
        raise ValueError("the curve must be P-256")
    point = key.public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": b64url_encode(point.x.to_bytes(32, "big")),
        "y": b64url_encode(point.y.to_bytes(32, "big")),
    }


def from_jwk(jwk: dict[str, Any]) -> PublicKey:
    """Returns the key of a JWK; members beside the required ones are the caller's to look at.

    Raises:
        ValueError: not a public key that this specification allows, or not in its one canonical encoding.
    """
    if "d" in jwk or jwk.get("kty") == "oct":
        raise ValueError("it holds a private key")
    names = _REQUIRED_MEMBERS.get(str(jwk.get("kty")))
    if names is None or not all(isinstance(jwk.get(name), str) for name in names):
        raise ValueError("it is not an Ed25519, RSA or P-256 public key")
    required = {name: jwk[name] for name in names}
    try:
        key = _public_key(required)
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise ValueError("it is not a valid public key") from cause
    # Encoding the key again and comparing refuses every second spelling of the same key.
    if to_jwk(key) != required:
        raise ValueError("it is not in canonical form")
    return key


def thumbprint(key: PublicKey) -> str:
    """Returns the RFC 7638 thumbprint with SHA-256, in base64url (43 characters)."""
    return b64url_encode(hashlib.sha256(canonical(to_jwk(key))).digest())


def _public_key(jwk: dict[str, str]) -> PublicKey:
    if jwk["kty"] == "OKP":
        if jwk["crv"] != "Ed25519":
            raise ValueError("unknown curve")
        return Ed25519PublicKey.from_public_bytes(b64url_decode(jwk["x"]))
    if jwk["kty"] == "EC":
        if jwk["crv"] != "P-256":
            raise ValueError("unknown curve")
        x, y = (int.from_bytes(b64url_decode(jwk[name]), "big") for name in ("x", "y"))
        return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    modulus, exponent = (int.from_bytes(b64url_decode(jwk[name]), "big") for name in ("n", "e"))
    # Bounds come before use: a huge modulus or exponent would make verification slow.
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS or exponent != 65537:
        raise ValueError("unsuitable RSA parameters")
    return RSAPublicNumbers(exponent, modulus).public_key()


def _unsigned(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
