"""The software device key: an RSA-3072 key pair whose private half stays on the customer's box.

docs/spec/license.md, section 10. On disk it is encrypted PKCS#8 (RFC 5958), readable by its owner alone, under a
password derived from the machine ID: a copied file does not open on another machine. That is the tier `software`:
whoever can read the file and the machine ID has the key. Only a TPM makes it impossible to copy.
"""

import contextlib
import fcntl
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from licensing import jws
from licensing.encoding import b64url_encode
from licensing.errors import (
    DeviceKeyExistsError,
    DeviceKeyMismatchError,
    DeviceKeyMissingError,
    FileAccessError,
    OutputExistsError,
    StorageError,
)
from licensing.files import make_directory, read_bounded, write_new_file
from licensing.jwk import thumbprint
from licensing.key_derivation import SECRET_BYTES
from licensing.machine import Machine

__all__ = ["DEVICE_KEY_BITS", "DeviceKey", "create_device_key", "device_key_path", "open_device_key", "wrap_secret"]

DEVICE_KEY_BITS = 3072
MAX_KEY_FILE_BYTES = 16 * 1024

_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
"""RSAES-OAEP with SHA-256 (RFC 8017, section 7.1), without a label, as TPMs do it."""


class DeviceKey:
    """A device key that is open and ready to use.

    Attributes:
        tier: how hard it is to copy; "software" here.
        thumbprint: RFC 7638 thumbprint of the public half.
    """

    tier: Literal["software"] = "software"

    def __init__(self, private_key: rsa.RSAPrivateKey) -> None:
        self._private_key = private_key
        self.public_key = private_key.public_key()
        self.thumbprint = thumbprint(self.public_key)

    def __repr__(self) -> str:
        return f"DeviceKey(tier={self.tier!r}, thumbprint={self.thumbprint!r})"

    def sign(self, claims: dict[str, Any], typ: str) -> str:
        """Signs claims as a JWS (PS256)."""
        return jws.sign_claims(claims, self._private_key, typ)

    def unwrap_secret(self, wrapped: bytes) -> bytes:
        """Returns the license secret.

        Raises:
            DeviceKeyMismatchError: it was wrapped for another key.
        """
        try:
            secret = self._private_key.decrypt(wrapped, _OAEP)
            if len(secret) != SECRET_BYTES:
                raise ValueError("not a license secret")
        except ValueError as cause:
            raise DeviceKeyMismatchError("the license was issued for another device key") from cause
        return secret


def wrap_secret(public_key: rsa.RSAPublicKey, secret: bytes) -> bytes:
    """Returns the license secret, encrypted to a device's public key."""
    return public_key.encrypt(secret, _OAEP)


def device_key_path(home: Path) -> Path:
    """Returns where the device key of a customer's home lies."""
    return home / "device-key.pem"


def create_device_key(home: Path, machine: Machine, replace: bool = False) -> DeviceKey:
    """Makes a device key and stores it; the file appears whole or not at all.

    Args:
        home: the customer's home, made if it is missing.
        machine: the machine whose ID encrypts the file.
        replace: whether a key that is there may be set aside; it stays under another name, and is never deleted.

    Raises:
        DeviceKeyExistsError: there is one already, and `replace` is false.
        StorageError: the file system refused.
    """
    # Deferred: it brings support for SSH and certificates with it, and its import takes as long as an unlock.
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    make_directory(home)
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=DEVICE_KEY_BITS)
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(_password(machine)))
    path = device_key_path(home)
    if replace:
        with _locked(home):
            _keep(path)
            write_new_file(path, pem, mode=0o600, replace=True)
    else:
        try:
            write_new_file(path, pem, mode=0o600)
        except OutputExistsError as cause:
            raise DeviceKeyExistsError(f"there is a device key already: {str(path)!r}") from cause
    return DeviceKey(private_key)


def open_device_key(home: Path, machine: Machine, for_signing: bool = False) -> DeviceKey:
    """Opens the device key of a customer's home.

    Args:
        home: the customer's home.
        machine: the machine as measured.
        for_signing: whether signatures will be made with it. The key's numbers are then checked against each
            other, which takes a tenth of a second: a signature by a damaged RSA key can reveal the key (Boneh,
            DeMillo, Lipton 1997). Decrypting with a damaged key only fails.

    Raises:
        DeviceKeyMissingError: there is none.
        DeviceKeyMismatchError: it does not open with this machine's ID: it was copied here, or it is damaged.
        FileAccessError: the file cannot be read.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # Deferred, as above.

    path = device_key_path(home)
    try:
        pem = read_bounded(path, "device key", MAX_KEY_FILE_BYTES)
    except FileAccessError as cause:
        if cause.reason == "file_not_found":
            raise DeviceKeyMissingError(f"there is no device key {str(path)!r}") from cause
        raise
    try:
        if len(pem) > MAX_KEY_FILE_BYTES:
            raise ValueError("too long")
        key = load_pem_private_key(pem, _password(machine), unsafe_skip_rsa_key_validation=not for_signing)
    except Exception as cause:  # The loader raises ValueError, TypeError and UnsupportedAlgorithm; all mean the same.
        raise _does_not_open(path) from cause
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _does_not_open(path)
    return DeviceKey(key)


def _does_not_open(path: Path) -> DeviceKeyMismatchError:
    return DeviceKeyMismatchError(
        f"the device key {str(path)!r} does not open on this machine: it was made on another one, or it is damaged",
        "licenses are bound to the machine that made the request; make a new request here",
        "'weightlock request --new-device-key' sets this key aside and makes another",
    )


def _password(machine: Machine) -> bytes:
    # 256 bits from a keyed hash of the machine ID: the key stretching of PKCS#8 adds nothing to it.
    return b64url_encode(machine.derive("device-key")).encode()


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Lets one process at a time replace the device key: none may lose the key that another has just made."""
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # Some network file systems know no locks.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _keep(path: Path) -> None:
    """Gives a key that is there a second name, under which it stays when a new key takes its first one."""
    for number in itertools.count(1):
        try:
            os.link(path, path.with_name(f"{path.name}.old-{number}"), follow_symlinks=False)
            return
        except FileNotFoundError:
            return
        except FileExistsError:
            continue
        except OSError as cause:
            detail = (cause.strerror or str(cause)).lower()
            raise StorageError(f"the device key {str(path)!r} cannot be set aside: {detail}") from cause
