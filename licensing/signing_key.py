"""The vendor's signing key in a file: made, sealed under the master key, opened again.

The stored form is PKCS#8 DER (RFC 5958), sealed for the key's RFC 7638 thumbprint: another vendor's sealed key, or
another key of this vendor, does not open in its place.
"""

from typing import Literal, get_args

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from licensing.errors import UsageError, VendorHomeError
from licensing.jwk import thumbprint
from licensing.jws import PrivateKey
from licensing.master_key import MasterKey

__all__ = ["SigningAlgorithm", "new_signing_key", "open_signing_key", "seal_signing_key"]

SigningAlgorithm = Literal["EdDSA", "PS256", "ES256"]

SIGNING_KEY_BITS = 3072
"""The length of RSA keys, for PS256: 128 bits of security (NIST SP 800-57 Part 1, table 2)."""

_PURPOSE = "signing-key"


def new_signing_key(algorithm: SigningAlgorithm) -> PrivateKey:
    """Returns a fresh private key for a JWS algorithm.

    Raises:
        UsageError: the algorithm is none of the three.
    """
    if algorithm == "EdDSA":
        return Ed25519PrivateKey.generate()
    if algorithm == "PS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=SIGNING_KEY_BITS)
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    known = ", ".join(get_args(SigningAlgorithm))
    raise UsageError(f"there is no signing algorithm {algorithm!r}", f"choose one of {known}")


def seal_signing_key(signing_key: PrivateKey, master_key: MasterKey) -> bytes:
    """Returns the form in which a signing key is stored."""
    der = signing_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return master_key.seal(_PURPOSE, thumbprint(signing_key.public_key()), der)


def open_signing_key(sealed: bytes, key_thumbprint: str, master_key: MasterKey) -> PrivateKey:
    """Returns the signing key of a thumbprint.

    Raises:
        VendorHomeError: the sealed key is damaged, or another one.
    """
    der = master_key.open_sealed(_PURPOSE, key_thumbprint, sealed)
    try:
        # The seal proves that these are the bytes which were stored, so RSA's numbers need not be checked again.
        key = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
        raise VendorHomeError("the signing key cannot be read") from cause
    if not isinstance(key, Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise VendorHomeError("the signing key cannot be read")
    return key
