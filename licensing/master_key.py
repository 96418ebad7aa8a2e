"""The master key: 32 random bytes that encrypt the vendor's content keys and signing key at rest.

In the vendor's home it is the file `master.json`, in one of two forms: as it is, where the vendor set no passphrase
and the file's permissions are what protects it; or wrapped (AES-KW, RFC 3394) under a key that scrypt (RFC 7914)
makes from the vendor's passphrase. What is sealed under it is bound to a purpose and a name, so that a sealed value
put in the place of another does not open.
"""

import secrets
import unicodedata
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from licensing.encoding import b64url_decode, b64url_encode, framed
from licensing.errors import MalformedError, PassphraseError, UsageError, VendorHomeError
from licensing.strict_json import Fields, canonical, parse_canonical

__all__ = ["SCRYPT_COST", "MasterKey"]

MASTER_KEY_BYTES = 32
MAX_MASTER_FILE_BYTES = 4 * 1024
MASTER_FILE_VERSION = 1

SCRYPT_COST = 2**17
"""N of RFC 7914. With r = 8 one guess takes 128 MiB of memory and some tenths of a second, as OWASP's Password
Storage Cheat Sheet recommends."""

MIN_SCRYPT_COST, MAX_SCRYPT_COST = 2**10, 2**20
SCRYPT_BLOCK_SIZE = 8
SCRYPT_PARALLELISM = 1
SCRYPT_SALT_BYTES = 16
WRAPPED_BYTES = MASTER_KEY_BYTES + 8

NONCE_BYTES = 12
TAG_BYTES = 16

_FILE_HINT = "restore the vendor's home from a backup"


class MasterKey:
    """A master key that is open and ready to use."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "MasterKey()"

    @classmethod
    def generate(cls) -> "MasterKey":
        """Returns a fresh master key from the system's random number generator."""
        return cls(secrets.token_bytes(MASTER_KEY_BYTES))

    @classmethod
    def parse(cls, data: bytes, passphrase: Callable[[], str] | None = None) -> "MasterKey":
        """Opens a master key file.

        Args:
            data: the file's bytes.
            passphrase: asked for the passphrase, and only where the file needs one.

        Raises:
            VendorHomeError: the file is damaged.
            PassphraseError: a passphrase is needed and there is nobody to ask, or it is wrong.
        """
        try:
            return cls(_read_key(data, passphrase))
        except MalformedError as cause:
            raise VendorHomeError(cause.message, _FILE_HINT) from cause

    def to_bytes(self, passphrase: str | None = None, scrypt_cost: int = SCRYPT_COST) -> bytes:
        """Returns the master key file.

        Args:
            passphrase: protects the key; without one, the file holds the key as it is.
            scrypt_cost: N of RFC 7914, a power of two; less than the default is for tests.

        Raises:
            UsageError: the passphrase is empty.
        """
        if passphrase is None:
            return canonical({"version": MASTER_FILE_VERSION, "protection": "none", "key": b64url_encode(self._key)})
        if not passphrase:
            raise UsageError("the passphrase is empty", "give one, or make the vendor's home without a passphrase")
        salt = secrets.token_bytes(SCRYPT_SALT_BYTES)
        wrapped = aes_key_wrap(_stretch(passphrase, salt, scrypt_cost), self._key)
        return canonical(
            {
                "version": MASTER_FILE_VERSION,
                "protection": "scrypt",
                "n": scrypt_cost,
                "r": SCRYPT_BLOCK_SIZE,
                "p": SCRYPT_PARALLELISM,
                "salt": b64url_encode(salt),
                "wrapped": b64url_encode(wrapped),
            }
        )

    def seal(self, purpose: str, name: str, plaintext: bytes) -> bytes:
        """Encrypts a secret for storage: AES-256-GCM under the purpose's own key, nonce first.

        Random 96-bit nonces are safe for 2**32 secrets of one purpose (NIST SP 800-38D, section 8.3).

        Args:
            purpose: what kind of secret it is, such as "content-key".
            name: which one it is; the same purpose and name open it.
            plaintext: the secret.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self._subkey(purpose)).encrypt(nonce, plaintext, _associated_data(purpose, name))

    def open_sealed(self, purpose: str, name: str, sealed: bytes) -> bytes:
        """Returns the secret; arguments as in `seal`.

        Raises:
            VendorHomeError: it was not sealed under this key, for this purpose and this name, or it was changed.
        """
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            if len(ciphertext) < TAG_BYTES:
                raise InvalidTag
            return AESGCM(self._subkey(purpose)).decrypt(nonce, ciphertext, _associated_data(purpose, name))
        except InvalidTag as cause:
            raise VendorHomeError(
                f"the sealed {purpose} {name!r} does not open with the master key of this vendor's home", _FILE_HINT
            ) from cause

    def _subkey(self, purpose: str) -> bytes:
        info = framed(b"weightlock/1/vendor", purpose.encode())
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(self._key)


def _associated_data(purpose: str, name: str) -> bytes:
    return framed(purpose.encode(), name.encode())


def _read_key(data: bytes, passphrase: Callable[[], str] | None) -> bytes:
    what = "master key file"
    fields = Fields(parse_canonical(data, what, MalformedError, MAX_MASTER_FILE_BYTES), what, MalformedError)
    if fields.integer("version") != MASTER_FILE_VERSION:
        raise VendorHomeError("the master key file has an unknown version", "install a newer weightlock")
    if fields.text("protection", 20, "none|scrypt") == "none":
        fields.only("version", "protection", "key")
        return _bytes(fields, "key", MASTER_KEY_BYTES)
    fields.only("version", "protection", "n", "r", "p", "salt", "wrapped")
    # Bounds come before use: these numbers say how much memory and time the next step takes.
    cost = fields.integer("n", MIN_SCRYPT_COST, MAX_SCRYPT_COST)
    if cost & (cost - 1):
        fields.fail("n", "a power of two")
    fields.integer("r", SCRYPT_BLOCK_SIZE, SCRYPT_BLOCK_SIZE)
    fields.integer("p", SCRYPT_PARALLELISM, SCRYPT_PARALLELISM)
    salt, wrapped = _bytes(fields, "salt", SCRYPT_SALT_BYTES), _bytes(fields, "wrapped", WRAPPED_BYTES)
    if passphrase is None:
        raise PassphraseError(
            "the vendor's home is protected by a passphrase, and none was given", reason="passphrase_required"
        )
    try:
        return aes_key_unwrap(_stretch(passphrase(), salt, cost), wrapped)
    except InvalidUnwrap as cause:
        raise PassphraseError("the passphrase of the vendor's home is wrong") from cause


def _stretch(passphrase: str, salt: bytes, cost: int) -> bytes:
    """Returns the key that a passphrase stands for.

    The same passphrase typed on two systems can come as different sequences of code points; NFC makes them one
    (RFC 8265, section 4.2). Environment variables can hold bytes that are not UTF-8, which Python passes on as
    surrogates.
    """
    text = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    return Scrypt(salt=salt, length=32, n=cost, r=SCRYPT_BLOCK_SIZE, p=SCRYPT_PARALLELISM).derive(text)


def _bytes(fields: Fields, name: str, length: int) -> bytes:
    try:
        data = b64url_decode(fields.text(name))
    except ValueError:
        fields.fail(name, "base64url")
    if len(data) != length:
        fields.fail(name, f"base64url of {length} bytes")
    return data
