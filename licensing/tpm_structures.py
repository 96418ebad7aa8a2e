"""The TPM structures that are fixed here, byte for byte: templates of keys, and the public area of a device key.

docs/spec/license.md, section 18.1. They are TPMT_PUBLIC as TPM 2.0 Library, part 2, section 12.2.4 lays it out. A
public area of which all but the modulus is fixed is compared as bytes, so that no attribute can be overlooked.
"""

import hashlib

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

__all__ = [
    "DEVICE_KEY_BITS",
    "DEVICE_KEY_TEMPLATE",
    "STORAGE_KEY_TEMPLATE",
    "device_key_public_area",
    "name_of",
    "public_key_of",
    "sized",
]

DEVICE_KEY_BITS = 2048
"""TPMs are required to have RSA of this length and of no other (PC Client Platform TPM Profile)."""

MODULUS_BYTES = DEVICE_KEY_BITS // 8

_RSA, _ECC, _SHA256, _NULL = "0001", "0023", "000b", "0010"
_AES_128_CFB = "0006" + "0080" + "0043"
_OAEP_SHA256 = "0017" + "000b"
_P256 = "0003"

_DEVICE_KEY_ATTRIBUTES = "00020472"
"""fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, decrypt: made inside, never leaves, only decrypts."""
_STORAGE_KEY_ATTRIBUTES = "00030472"
"""The same, and restricted: what it decrypts is for the TPM alone."""

_DEVICE_KEY_PREFIX = bytes.fromhex(
    _RSA + _SHA256 + _DEVICE_KEY_ATTRIBUTES + "0000" + _NULL + _OAEP_SHA256 + "0800" + "00000000" + "0100"
)

DEVICE_KEY_TEMPLATE = _DEVICE_KEY_PREFIX[:-2] + bytes(2)
"""What TPM2_Create is given: the public area without a modulus."""

STORAGE_KEY_TEMPLATE = (
    bytes.fromhex(_ECC + _SHA256 + _STORAGE_KEY_ATTRIBUTES + "0000" + _AES_128_CFB + _NULL + _P256 + _NULL)
    + (b"\x00\x20" + bytes(32)) * 2
)
"""The storage root key on P-256 (TCG TPM v2.0 Provisioning Guidance, section 7.5.1)."""


def device_key_public_area(public_key: RSAPublicKey) -> bytes:
    """Returns the TPMT_PUBLIC that a device key with this public half must have."""
    return _DEVICE_KEY_PREFIX + public_key.public_numbers().n.to_bytes(MODULUS_BYTES, "big")


def public_key_of(public_area: bytes) -> RSAPublicKey:
    """Returns the public half of a device key.

    Raises:
        ValueError: it is not the public area of a device key as this specification wants it.
    """
    modulus = public_area.removeprefix(_DEVICE_KEY_PREFIX)
    if len(public_area) - len(modulus) != len(_DEVICE_KEY_PREFIX) or len(modulus) != MODULUS_BYTES:
        raise ValueError("not the public area of a device key")
    number = int.from_bytes(modulus, "big")
    if number.bit_length() != DEVICE_KEY_BITS:
        raise ValueError("not a modulus of 2048 bits")
    return RSAPublicNumbers(65537, number).public_key()


def name_of(public_area: bytes) -> bytes:
    """Returns the Name of an object whose name algorithm is SHA-256 (TPM 2.0 Library, part 1, section 16)."""
    return bytes.fromhex(_SHA256) + hashlib.sha256(public_area).digest()


def sized(data: bytes) -> bytes:
    """Returns a TPM2B structure: the data behind its length as a 16-bit big-endian integer."""
    return len(data).to_bytes(2, "big") + data
