"""Keys and values that fuzz targets and their seeds share: those of the test vectors, and nothing random."""

import functools
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from licensing.jwk import thumbprint
from licensing.time_state import StateKey
from licensing.trust import TrustedKeys
from tests.fuzz.target import ROOT

__all__ = ["CONTENT_KEY", "STATE_KEY", "device_key", "tpm_public_key", "trusted", "vector", "vendor_key"]

CONTENT_KEY = bytes.fromhex("81a881b5ec98d3e621dbfa2a923bef3f33abf7e1b93de28bcce89b2b5b47a6ba")
"""That of the containers among the vectors."""


@functools.cache
def vector(name: str) -> Any:
    """Returns a file of test vectors."""
    return json.loads((ROOT / "tests" / "vectors" / f"{name}.json").read_text())


@functools.cache
def vendor_key() -> Ed25519PrivateKey:
    """Returns the vendor's key that signs with Ed25519."""
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector("keys")["vendors"][0]["private"]["seed"]))


@functools.cache
def trusted() -> TrustedKeys:
    """Returns a trust file with that key alone."""
    public_key = vendor_key().public_key()
    return TrustedKeys({thumbprint(public_key): public_key})


@functools.cache
def device_key() -> RSAPrivateKey:
    """Returns the device key of the box."""
    key = load_pem_private_key(
        vector("keys")["device"]["pkcs8_pem"].encode(), None, unsafe_skip_rsa_key_validation=True
    )
    assert isinstance(key, RSAPrivateKey)
    return key


@functools.cache
def tpm_public_key() -> RSAPublicKey:
    """Returns a public key of the length that TPMs have. Nobody has its private half: no parser asks for it."""
    modulus = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(8))
    return RSAPublicNumbers(65537, int.from_bytes(modulus, "big") | 1 << 2047 | 1).public_key()


STATE_KEY = StateKey(vector("keys")["device"]["thumbprint"], hashlib.sha256(b"time state").digest())
