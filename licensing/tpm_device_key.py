"""The device key in a TPM 2.0: an RSA-2048 key that was made inside, decrypts inside, and never leaves.

docs/spec/license.md, section 18. The home keeps what the TPM needs to load the key again; another TPM refuses it. That
is the tier `tpm`.
"""

import contextlib
import dataclasses
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from licensing.clock_witnesses import TpmClock
from licensing.device_key import (
    DeviceKey,
    derive_authentication_key,
    store_device_key,
    tpm_device_key_path,
    wrap_secret,
)
from licensing.encoding import b64url_encode
from licensing.errors import DeviceKeyMismatchError, MalformedError, UsageError
from licensing.files import make_directory, read_bounded
from licensing.key_derivation import SECRET_BYTES
from licensing.strict_json import Fields, canonical, parse_canonical
from licensing.tpm import TCTI_PATTERN, TCTI_VARIABLE, Tpm, check_tcti, open_tpm
from licensing.tpm_structures import DEVICE_KEY_TEMPLATE, public_key_of

__all__ = ["TpmDeviceKey", "TpmKeyFile", "create_tpm_device_key", "open_tpm_device_key"]

FILE_VERSION = 1
MAX_FILE_BYTES = 16 * 1024
PUBLIC_AREA_BYTES = 280
MAX_PRIVATE_BYTES = 1024
WRAPPED_BYTES = 256


@dataclass(frozen=True)
class TpmKeyFile:
    """What `device-key-tpm.json` says. Nothing in it is secret: without the TPM it opens nothing.

    Attributes:
        tcti: the way to the TPM that made the key.
        public_area: TPMT_PUBLIC of the key.
        private: the content of its TPM2B_PRIVATE, encrypted by the TPM to itself.
        authentication: a random secret of the box, wrapped to the key: what authenticates the box's own files.
    """

    tcti: str
    public_area: bytes
    private: bytes
    authentication: bytes

    @classmethod
    def parse(cls, data: bytes) -> "TpmKeyFile":
        """Parses the file.

        Raises:
            MalformedError: it does not follow the specification.
        """
        what = "device key file"
        fields = Fields(parse_canonical(data, what, MalformedError, MAX_FILE_BYTES), what, MalformedError)
        if fields.integer("version") != FILE_VERSION:
            raise MalformedError("the device key file has an unknown version", "install a newer weightlock")
        fields.only("version", "tcti", "public", "private", "authentication")
        return cls(
            tcti=fields.text("tcti", pattern=TCTI_PATTERN),
            public_area=fields.binary("public", PUBLIC_AREA_BYTES, PUBLIC_AREA_BYTES),
            private=fields.binary("private", 1, MAX_PRIVATE_BYTES),
            authentication=fields.binary("authentication", WRAPPED_BYTES, WRAPPED_BYTES),
        )

    def to_bytes(self) -> bytes:
        """Returns the file."""
        return canonical(
            {
                "version": FILE_VERSION,
                "tcti": self.tcti,
                "public": b64url_encode(self.public_area),
                "private": b64url_encode(self.private),
                "authentication": b64url_encode(self.authentication),
            }
        )


class TpmDeviceKey(DeviceKey):
    """A device key whose private half only its TPM can use. The TPM is asked when the key is used, not before."""

    tier = "tpm"

    def __init__(self, file: TpmKeyFile) -> None:
        super().__init__(public_key_of(file.public_area))
        self._file = file
        self._authentication: bytes | None = None

    @property
    def tcti(self) -> str:
        """The way to the TPM."""
        return self._file.tcti

    @property
    def public_area(self) -> bytes:
        """TPMT_PUBLIC, from which the key's Name is made."""
        return self._file.public_area

    def unwrap_secret(self, wrapped: bytes) -> bytes:
        """Returns the license secret; errors as in the base class.

        Raises:
            TpmUnavailableError, TpmLibraryMissingError: the TPM cannot be asked.
        """
        with open_tpm(self.tcti) as tpm:
            key = self.load(tpm)
            secret = _unwrap(tpm, key, wrapped)
            # Unlocking needs the box's own secret next, and loading the key is what takes a TPM longest.
            with contextlib.suppress(DeviceKeyMismatchError):
                self._authentication = self._authentication or _unwrap(tpm, key, self._file.authentication)
        return secret

    def authentication_key(self, purpose: str) -> bytes:
        """Returns HKDF-SHA256 (RFC 5869) of the box's secret, which only the TPM unwraps. Errors as above."""
        secret = self._authentication or self.unwrap_secret(self._file.authentication)
        return derive_authentication_key(secret, purpose)

    def clock(self) -> TpmClock | None:
        """Reads the TPM's clock, which nobody on the box can set back; errors as in `unwrap_secret`."""
        with open_tpm(self.tcti) as tpm:
            return tpm.clock()

    def load(self, tpm: Tpm) -> object:
        """Loads the key and returns its handle.

        Raises:
            DeviceKeyMismatchError: another TPM made it.
        """
        parent = tpm.storage_key()
        key = tpm.load(parent, self._file.public_area, self._file.private)
        tpm.forget(parent)
        return key


def create_tpm_device_key(home: Path, tcti: str, replace: bool = False) -> TpmDeviceKey:
    """Makes a device key in a TPM, and stores what the TPM needs to load it again.

    Args:
        home: the customer's home, made if it is missing.
        tcti: the TPM, as in `licensing.tpm.open_tpm`.
        replace: whether a key that is there may be set aside, as in `create_device_key`.

    Raises:
        DeviceKeyExistsError: the home has a device key already, and `replace` is false.
        TpmUnavailableError, TpmLibraryMissingError: the TPM cannot be asked.
        StorageError: the file system refused.
        UsageError: `tcti` names no TPM.
    """
    make_directory(home)
    with open_tpm(tcti) as tpm:
        public_area, private = tpm.create(tpm.storage_key(), DEVICE_KEY_TEMPLATE)
    authentication = wrap_secret(public_key_of(public_area), secrets.token_bytes(SECRET_BYTES))
    key = TpmKeyFile(tcti, public_area, private, authentication)
    device_key = TpmDeviceKey(key)
    store_device_key(home, tpm_device_key_path(home), key.to_bytes(), replace, device_key)
    return device_key


def open_tpm_device_key(path: Path, tcti: str | None = None) -> TpmDeviceKey:
    """Opens the device key of a file.

    Args:
        path: the file.
        tcti: the way to the TPM; by default `WEIGHTLOCK_TCTI`, or what the file says.

    Raises:
        DeviceKeyMismatchError: the file is damaged.
        FileAccessError: it cannot be read.
        UsageError: `tcti` names no TPM.
    """
    data = read_bounded(path, "device key", MAX_FILE_BYTES)
    try:
        file = TpmKeyFile.parse(data)
        other = tcti or os.environ.get(TCTI_VARIABLE)
        return TpmDeviceKey(dataclasses.replace(file, tcti=check_tcti(other)) if other else file)
    except UsageError:
        raise
    except (MalformedError, ValueError) as cause:
        raise DeviceKeyMismatchError(
            f"the device key {str(path)!r} is damaged",
            "restore it from a backup of the home: its TPM still knows it",
            "'weightlock request --new-device-key' sets this key aside and makes another",
        ) from cause


def _unwrap(tpm: Tpm, key: object, wrapped: bytes) -> bytes:
    secret = tpm.decrypt(key, wrapped)
    if len(secret) != SECRET_BYTES:
        raise DeviceKeyMismatchError("the license was issued for another device key")
    return secret
