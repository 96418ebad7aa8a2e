"""Signed texts in JWS compact form (RFC 7515) with an explicit type (RFC 8725, section 3.11).

docs/spec/license.md, section 5. The header holds `alg`, `kid` and `typ` and nothing else: a header that could
name keys (`jwk`, `jku`, `x5c`) or extensions (`crit`) is refused before any key is looked at. The algorithm comes
from the key, never from the header.
"""

from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from licensing.encoding import b64url_decode
from licensing.errors import MalformedError, SignatureInvalidError
from licensing.jwk import THUMBPRINT_PATTERN, PublicKey, algorithm_of, thumbprint
from licensing.strict_json import Fields, canonical, parse_canonical, parse_object

__all__ = ["PrivateKey", "SignedText", "parse_signed", "sign_claims", "verify_signature"]

PrivateKey = Ed25519PrivateKey | RSAPrivateKey | EllipticCurvePrivateKey

MAX_HEADER_BYTES = 512
P256_BYTES = 32


@dataclass(frozen=True)
class SignedText:
    """A JWS taken apart, not yet verified.

    Attributes:
        text: the compact form, exactly as it was received.
        algorithm: what the header claims.
        kid: the thumbprint of the key that the header claims.
        payload: the signed bytes.
    """

    text: str
    algorithm: str
    kid: str
    payload: bytes

    def claims(self, what: str, error: type[MalformedError]) -> dict[str, Any]:
        """Returns the payload as the canonical JSON object that it must be."""
        return parse_canonical(self.payload, what, error, len(self.payload))


def sign_claims(claims: dict[str, Any], key: PrivateKey, typ: str) -> str:
    """Signs claims in canonical form and returns the compact JWS."""
    import jwt  # Deferred: it brings an HTTP client with it, and customers who only verify need none of it.

    public_key = key.public_key()
    return jwt.api_jws.encode(
        canonical(claims),
        key,
        algorithm=algorithm_of(public_key),
        headers={"kid": thumbprint(public_key), "typ": typ},
    )


def parse_signed(text: str, typ: str, what: str, error: type[MalformedError]) -> SignedText:
    """Takes a JWS apart and checks its form, not its signature.

    Args:
        text: the compact form.
        typ: the only `typ` that is allowed.
        what: the name of the text for messages.
        error: the class to raise.
    """
    parts = text.split(".")
    try:
        if len(parts) != 3:
            raise ValueError("not three parts")
        header_bytes, payload, _signature = (b64url_decode(part) for part in parts)
    except ValueError as cause:
        raise error(f"the {what} is not a signed text in JWS compact form") from cause
    header = Fields(
        parse_object(header_bytes, f"{what}'s signature header", error, MAX_HEADER_BYTES),
        f"{what}'s signature header",
        error,
    )
    header.only("alg", "kid", "typ")
    if header.text("typ") != typ:
        raise error(f"the {what} is a signed text of another kind")
    return SignedText(text, header.text("alg", 10), header.text("kid", 43, THUMBPRINT_PATTERN), payload)


def verify_signature(signed: SignedText, key: PublicKey, what: str) -> None:
    """Verifies a signature with a key that the caller has chosen and trusts.

    Raises:
        SignatureInvalidError: it does not verify, for whatever reason.
    """
    signing_input, _, signature = signed.text.rpartition(".")
    try:
        if signed.algorithm != algorithm_of(key):
            raise ValueError("the header names another algorithm than the key is for")
        _verify(key, b64url_decode(signature), signing_input.encode("ascii"))
    except (InvalidSignature, ValueError) as cause:
        raise SignatureInvalidError(f"the signature of the {what} is not valid") from cause


def _verify(key: PublicKey, signature: bytes, message: bytes) -> None:
    """Verifies by the one algorithm that the key is for: EdDSA (RFC 8037), PS256 or ES256 (RFC 7518, section 3)."""
    if isinstance(key, Ed25519PublicKey):
        key.verify(signature, message)
    elif isinstance(key, RSAPublicKey):
        key.verify(signature, message, PSS(MGF1(SHA256()), SHA256.digest_size), SHA256())
    else:
        if len(signature) != 2 * P256_BYTES:
            raise ValueError("not the two numbers of an ES256 signature")
        r, s = (int.from_bytes(half, "big") for half in (signature[:P256_BYTES], signature[P256_BYTES:]))
        key.verify(encode_dss_signature(r, s), message, ECDSA(SHA256()))
