"""Signed texts in JWS compact form (RFC 7515) with an explicit type (RFC 8725, section 3.11).

docs/spec/license.md, section 5. The header holds `alg`, `kid` and `typ` and nothing else: a header that could
name keys (`jwk`, `jku`, `x5c`) or extensions (`crit`) is refused before any key is looked at. The algorithm comes
from the key, never from the header.
"""

from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from licensing.encoding import b64url_decode
from licensing.errors import MalformedError, SignatureInvalidError
from licensing.jwk import THUMBPRINT_PATTERN, PublicKey, algorithm_of, thumbprint
from licensing.strict_json import Fields, canonical, parse_canonical, parse_object

__all__ = ["PrivateKey", "SignedText", "parse_signed", "sign_claims", "verify_signature"]

PrivateKey = Ed25519PrivateKey | RSAPrivateKey | EllipticCurvePrivateKey

MAX_HEADER_BYTES = 512


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
    import jwt  # Deferred: it brings an HTTP client with it, which takes longer to import than all of ours.

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
    import jwt  # Deferred, as in `sign_claims`.

    algorithm = algorithm_of(key)
    try:
        if signed.algorithm != algorithm:
            raise jwt.InvalidAlgorithmError("the header names another algorithm than the key is for")
        jwt.api_jws.decode_complete(signed.text, key, algorithms=[algorithm])
    except jwt.PyJWTError as cause:
        raise SignatureInvalidError(f"the signature of the {what} is not valid") from cause
