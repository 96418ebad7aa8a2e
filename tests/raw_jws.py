"""Signed texts with any header and any payload, byte by byte: what `sign_claims` would never write."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from licensing.jwk import algorithm_of, thumbprint
from licensing.jws import PrivateKey

__all__ = ["b64", "from_b64", "header_of", "raw_jws", "raw_signature"]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_b64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def header_of(key: PrivateKey, typ: str, /, **changes: Any) -> bytes:
    """Returns the right header for a key, with members changed or added; None takes one away."""
    public_key = key.public_key()
    members = {"alg": algorithm_of(public_key), "kid": thumbprint(public_key), "typ": typ, **changes}
    return json.dumps({name: value for name, value in members.items() if value is not None}).encode()


def raw_signature(key: PrivateKey, data: bytes) -> bytes:
    """Returns the signature that the key's algorithm gives, whatever the header says."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=32), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def raw_jws(header: bytes, payload: bytes, key: PrivateKey) -> str:
    signed = f"{b64(header)}.{b64(payload)}"
    return f"{signed}.{b64(raw_signature(key, signed.encode()))}"
