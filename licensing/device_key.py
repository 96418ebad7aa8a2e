"""The device key: an RSA key pair whose private half stays on the customer's box, in software or in a TPM.

docs/spec/license.md, section 10. The software key is made here, with 3072 bits. On disk it is encrypted PKCS#8 (RFC
5958), readable by its owner alone, under a password derived from the machine ID: a copied file does not open on another
machine. That is the tier `software`: whoever can read the file and the machine ID has the key. Only a TPM makes it
impossible to copy; that key is `licensing.tpm_device_key`.
"""

import abc
import itertools
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from licensing import jws
from licensing.clock_witnesses import TpmClock
from licensing.directory_lock import locked_directory
from licensing.encoding import b64url_encode, framed
from licensing.errors import (
    DeviceKeyAmbiguousError,
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
from licensing.time_state import start_state, state_path

__all__ = [
    "DEVICE_KEY_BITS",
    "DeviceKey",
    "SoftwareDeviceKey",
    "create_device_key",
    "derive_authentication_key",
    "device_key_path",
    "open_device_key",
    "store_device_key",
    "tpm_device_key_path",
    "wrap_secret",
]

DEVICE_KEY_BITS = 3072
MAX_KEY_FILE_BYTES = 16 * 1024

_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
"""RSAES-OAEP with SHA-256 (RFC 8017, section 7.1), without a label, as TPMs do it."""


class DeviceKey(abc.ABC):
    """A device key that is open and ready to use.

    Attributes:
        tier: how hard it is to copy.
        public_key: the public half.
        thumbprint: RFC 7638 thumbprint of the public half.
    """

    tier: Literal["software", "tpm"]

    def __init__(self, public_key: rsa.RSAPublicKey) -> None:
        self.public_key = public_key
        self.thumbprint = thumbprint(public_key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(tier={self.tier!r}, thumbprint={self.thumbprint!r})"

    @abc.abstractmethod
    def unwrap_secret(self, wrapped: bytes) -> bytes:
        """Returns the license secret.

        Raises:
            DeviceKeyMismatchError: it was wrapped for another key.
        """

    @abc.abstractmethod
    def authentication_key(self, purpose: str) -> bytes:
        """Returns 32 bytes that only the holder of the device key can make, for authenticating the box's own files.

        Args:
            purpose: what for; the bytes of one purpose tell nothing about those of another.
        """

    def clock(self) -> TpmClock | None:
        """Returns what the clock of the TPM says that holds this key; None where no TPM does."""
        return None


class SoftwareDeviceKey(DeviceKey):
    """A device key whose private half this process holds."""

    tier = "software"

    def __init__(self, private_key: rsa.RSAPrivateKey) -> None:
        super().__init__(private_key.public_key())
        self._private_key = private_key

    def sign(self, claims: dict[str, Any], typ: str) -> str:
        """Signs claims as a JWS (PS256)."""
        return jws.sign_claims(claims, self._private_key, typ)

    def unwrap_secret(self, wrapped: bytes) -> bytes:
        """Returns the license secret; errors as in the base class."""
        try:
            secret = self._private_key.decrypt(wrapped, _OAEP)
            if len(secret) != SECRET_BYTES:
                raise ValueError("not a license secret")
        except ValueError as cause:
            raise DeviceKeyMismatchError("the license was issued for another device key") from cause
        return secret

    def authentication_key(self, purpose: str) -> bytes:
        """Returns what section 10.1 of docs/spec/license.md derives from the private exponent."""
        exponent = self._private_key.private_numbers().d
        return derive_authentication_key(exponent.to_bytes((exponent.bit_length() + 7) // 8, "big"), purpose)


def derive_authentication_key(secret: bytes, purpose: str) -> bytes:
    """Returns 32 bytes for one purpose by HKDF-SHA256 (RFC 5869). docs/spec/license.md, section 10.1."""
    info = framed(b"weightlock/1/device/authentication", purpose.encode())
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(secret)


def wrap_secret(public_key: rsa.RSAPublicKey, secret: bytes) -> bytes:
    """Returns the license secret, encrypted to a device's public key."""
    return public_key.encrypt(secret, _OAEP)


def device_key_path(home: Path) -> Path:
    """Returns where the software device key of a customer's home lies."""
    return home / "device-key.pem"


def tpm_device_key_path(home: Path) -> Path:
    """Returns where a customer's home keeps what its TPM needs to load the device key."""
    return home / "device-key-tpm.json"


def create_device_key(
    home: Path, machine: Machine, replace: bool = False, now: datetime | None = None
) -> SoftwareDeviceKey:
    """Makes a software device key and stores it with the time state; the file appears whole or not at all.

    Args:
        home: the customer's home, made if it is missing.
        machine: the machine whose ID encrypts the file.
        replace: whether a key that is there may be set aside; it stays under another name, and is never deleted.
        now: the time, with which the time state begins; by default the system's clock.

    Raises:
        DeviceKeyExistsError: there is one already, and `replace` is false.
        StorageError: the file system refused.
    """
    # Deferred: it brings support for SSH and certificates with it, and its import takes as long as an unlock.
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    make_directory(home)
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=DEVICE_KEY_BITS)
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(_password(machine)))
    device_key = SoftwareDeviceKey(private_key)
    store_device_key(home, device_key_path(home), pem, replace, device_key, now)
    return device_key


def store_device_key(
    home: Path, path: Path, data: bytes, replace: bool, device_key: DeviceKey, now: datetime | None = None
) -> None:
    """Writes the file of a new device key, and the time state; a home has one key, of whatever tier.

    Where there was no key, the state is written first: no interruption leaves a key without the state that it needs.
    Where a key is replaced, the state comes last, because the old key needs its own until then; the new one has no
    license yet.

    Args:
        home, replace, now: as above.
        path, data: the file.
        device_key: the key that the file holds.

    Raises:
        DeviceKeyExistsError, StorageError: as above.
    """
    moment = now or datetime.now(timezone.utc)
    files = device_key_path(home), tpm_device_key_path(home)
    with locked_directory(home):
        for there in files:
            if not replace and os.path.lexists(there):
                raise DeviceKeyExistsError(f"there is a device key already: {str(there)!r}")
            if replace:
                _keep(there)
        if replace:
            _keep(state_path(home))
        else:
            start_state(home, device_key, moment)
        try:
            write_new_file(path, data, mode=0o600, replace=replace)
        except OutputExistsError as cause:
            raise DeviceKeyExistsError(f"there is a device key already: {str(path)!r}") from cause
        for there in files:
            if there != path:
                there.unlink(missing_ok=True)
        if replace:
            start_state(home, device_key, moment)


def open_device_key(home: Path, machine: Machine, for_signing: bool = False) -> DeviceKey:
    """Opens the device key of a customer's home, whichever it has: the software key or the TPM's.

    Args:
        home: the customer's home.
        machine: the machine as measured.
        for_signing: whether signatures will be made with it. The key's numbers are then checked against each
            other, which takes a tenth of a second: a signature by a damaged RSA key can reveal the key (Boneh,
            DeMillo, Lipton 1997). Decrypting with a damaged key only fails.

    Raises:
        DeviceKeyMissingError: there is none.
        DeviceKeyMismatchError: it does not open with this machine's ID: it was copied here, or it is damaged.
        DeviceKeyAmbiguousError: the home has both.
        FileAccessError: the file cannot be read.
    """
    path, tpm_path = device_key_path(home), tpm_device_key_path(home)
    if os.path.lexists(tpm_path):
        if os.path.lexists(path):
            raise DeviceKeyAmbiguousError(f"the home has two device keys: {str(path)!r} and {str(tpm_path)!r}")
        from licensing.tpm_device_key import open_tpm_device_key  # Deferred: most homes have a software key.

        return open_tpm_device_key(tpm_path)
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # Deferred, as above.

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
    return SoftwareDeviceKey(key)


def _does_not_open(path: Path) -> DeviceKeyMismatchError:
    return DeviceKeyMismatchError(
        f"the device key {str(path)!r} does not open on this machine: it was made on another one, or it is damaged",
        "licenses are bound to the machine that made the request; make a new request here",
        "'weightlock request --new-device-key' sets this key aside and makes another",
    )


def _password(machine: Machine) -> bytes:
    # 256 bits from a keyed hash of the machine ID: the key stretching of PKCS#8 adds nothing to it.
    return b64url_encode(machine.derive("device-key")).encode()


def _keep(path: Path) -> None:
    """Gives a file that is there a second name, under which it stays when a new one takes its first name."""
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
            raise StorageError(f"the file {str(path)!r} cannot be set aside: {detail}") from cause
