"""Content keys: 32 random bytes that encrypt one model, named by a key id.

docs/spec/license.md, section 3.
"""

import base64
import binascii
import os
import secrets
from pathlib import Path

from licensing.encoding import framed_sha256
from licensing.errors import ContentKeyInvalidError
from licensing.files import read_bounded

__all__ = ["CONTENT_KEY_BYTES", "KEY_ID_PATTERN", "content_key_base64", "key_id", "new_content_key", "read_content_key"]

CONTENT_KEY_BYTES = 32
KEY_ID_PATTERN = "[0-9a-f]{32}"


def new_content_key() -> bytes:
    """Returns a fresh content key from the system's random number generator."""
    return secrets.token_bytes(CONTENT_KEY_BYTES)


def key_id(content_key: bytes) -> str:
    """Returns the name of a content key: 128 bits of a hash of it, in hexadecimal.

    A wrong key is thereby recognised before anything is decrypted, and a locked model is committed to one key,
    which AES-GCM alone does not give. A hash of 256 random bits reveals nothing that helps to find them.
    """
    return framed_sha256(b"weightlock/1/key-id", content_key)[:16].hex()


def content_key_base64(content_key: bytes) -> str:
    """Returns the 44-character URL-safe base64 form, the one that Fernet uses too."""
    return base64.urlsafe_b64encode(content_key).decode("ascii")


def read_content_key(crypt_key: bytes | bytearray | str | os.PathLike[str]) -> bytes:
    """Returns the 32 bytes that a caller's `crypt_key` means.

    Args:
        crypt_key: 32 raw bytes, the 44-character URL-safe base64 form as `bytes` or `str`, or the path of a file
            that holds either (a final line break in the file is allowed).

    Raises:
        ContentKeyInvalidError: it is none of these.
        FileAccessError: it is a path, and the file cannot be read.
    """
    if isinstance(crypt_key, bytes | bytearray):
        return _from_bytes(bytes(crypt_key), "the content key")
    if isinstance(crypt_key, str) and len(crypt_key) == 44 and not Path(crypt_key).exists():
        return _from_bytes(crypt_key.encode(), "the content key")
    if isinstance(crypt_key, str | os.PathLike):
        data = read_bounded(crypt_key, "content key file", 64)
        return _from_bytes(data, f"the content key file {os.fspath(crypt_key)!r}")
    raise ContentKeyInvalidError(f"a content key is bytes, text or a path, not {type(crypt_key).__name__}")


def _from_bytes(data: bytes, what: str) -> bytes:
    if len(data) == CONTENT_KEY_BYTES:
        return data
    text = data.rstrip(b"\r\n")
    try:
        key = base64.b64decode(text, altchars=b"-_", validate=True) if len(text) == 44 else b""
    except binascii.Error:
        key = b""
    if len(key) != CONTENT_KEY_BYTES or base64.urlsafe_b64encode(key) != text:
        raise ContentKeyInvalidError(
            f"{what} is not a content key", "give 32 bytes, or the 44 characters of their URL-safe base64 form"
        )
    return key
