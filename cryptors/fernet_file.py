"""Files of the old toolkit: the whole model as one Fernet token (`.crt`). They can be read, and are not written."""

import os
import string

from cryptors.errors import ModelDamagedError
from licensing.content_key import content_key_base64
from licensing.errors import FileAccessError
from licensing.files import read_bounded

__all__ = ["decrypt_fernet", "is_fernet"]

MAX_BYTES = 8 * 1024**3

_BEGINNING = b"gAAAAA"
"""Base64 of Fernet's version byte 0x80 and the zero bytes with which its 64-bit time begins."""

_ALPHABET = (string.ascii_letters + string.digits + "-_").encode()


def is_fernet(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file begins like one of the old toolkit's."""
    try:
        return read_bounded(path, "model file", len(_BEGINNING)).startswith(_BEGINNING)
    except FileAccessError:
        return False


def decrypt_fernet(path: str | os.PathLike[str], content_key: bytes) -> bytes:
    """Returns the model's bytes.

    Raises:
        ModelDamagedError: the file was changed, or the key is not its key; Fernet cannot tell which.
        FileAccessError: the file cannot be read.
    """
    from cryptography.fernet import Fernet, InvalidToken  # Deferred: few models are of the old toolkit.

    token = read_bounded(path, "model file", MAX_BYTES)
    try:
        padding = token.translate(None, _ALPHABET)
        if padding not in (b"", b"=", b"==") or not token.endswith(padding):
            raise InvalidToken  # Python's decoder would skip whatever is not base64.
        return Fernet(content_key_base64(content_key)).decrypt(token)
    except InvalidToken as cause:
        raise ModelDamagedError(
            "the file of the old toolkit cannot be decrypted: the key is wrong or the file is damaged",
            "check the content key",
        ) from cause
