"""From the license secret and the measured hardware to the content key: the lock itself.

docs/spec/license.md, sections 8 and 9. Nothing here decides anything: with other hardware, another license text
or another secret, another key-encryption key comes out, and RFC 3394 unwrapping refuses.
"""

import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from licensing.content_key import key_id as content_key_id
from licensing.encoding import framed, framed_sha256
from licensing.errors import GrantInvalidError
from licensing.secret_memory import forget

__all__ = [
    "GRANT_BYTES",
    "SECRET_BYTES",
    "derive_kek",
    "derived_content_key",
    "hardware_salt",
    "slot_digest",
    "unwrap_grant",
    "wrap_grant",
]

SECRET_BYTES = 32
GRANT_BYTES = 40


def slot_digest(salt: bytes, kind: str, identity: str) -> bytes:
    """Returns the salted digest by which a license names a machine or a GPU without showing its identifier.

    Args:
        salt: the license's `salt`, 16 bytes.
        kind: "machine" or "gpu".
        identity: the machine's fingerprint or the GPU's identity.
    """
    return framed_sha256(b"weightlock/1/slot", salt, kind.encode(), identity.encode())


def hardware_salt(machine_fingerprint: str, gpu_identity: str) -> bytes:
    """Returns SHA-256 over the slot's hardware; `gpu_identity` is empty for a slot of a machine alone."""
    return framed_sha256(b"weightlock/1/hardware", machine_fingerprint.encode(), gpu_identity.encode())


def derive_kek(secret: bytes, salt: bytes, license_text: str, model_id: str, key_id: str, slot_id: str) -> bytes:
    """Returns the 32-byte key that wraps one model's content key for one slot of one license.

    Args:
        secret: S, the license's random secret.
        salt: `hardware_salt` of the slot's hardware.
        license_text: L, the license in JWS compact form, exactly as it was issued.
        model_id: the model.
        key_id: its content key's name.
        slot_id: the slot.

    The construction is HKDF with SHA-256 (RFC 5869).
    """
    info = framed(
        b"weightlock/1/kek",
        hashlib.sha256(license_text.encode("ascii")).digest(),
        model_id.encode(),
        key_id.encode(),
        slot_id.encode(),
    )
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(secret)


def wrap_grant(kek: bytes, content_key: bytes) -> bytes:
    """Returns the grant: the content key wrapped with AES-KW (RFC 3394), 40 bytes."""
    return aes_key_wrap(kek, content_key)


def unwrap_grant(kek: bytes, grant: bytes, key_id: str) -> bytes:
    """Returns the content key.

    Raises:
        GrantInvalidError: the grant was not made with this key-encryption key, or for another content key.
    """
    try:
        content_key = aes_key_unwrap(kek, grant)
    except InvalidUnwrap as cause:
        raise GrantInvalidError("the content key cannot be derived from this license on this machine") from cause
    if content_key_id(content_key) != key_id:
        forget(content_key)
        raise GrantInvalidError("the content key cannot be derived from this license on this machine")
    return content_key


def derived_content_key(content_key: bytes, parent_model_id: str, parent_key_id: str, model_id: str) -> bytes:
    """Returns the 32-byte content key of something that was made from a locked model, such as an engine.

    docs/spec/container.md, section 7. The construction is HKDF with SHA-256 (RFC 5869): the key does not lead back to
    the one that it was derived from.

    Args:
        content_key: the parent's content key.
        parent_model_id, parent_key_id: the parent, and its content key's name.
        model_id: the derived model's own id.
    """
    info = framed(b"weightlock/1/derived", parent_model_id.encode(), parent_key_id.encode(), model_id.encode())
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(content_key)
