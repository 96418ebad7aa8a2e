"""Every error that licensing raises, each with the stable reason code that `--json` prints.

A message says what is wrong in one sentence (lower case, no full stop); hints say what to do about it.
Messages never contain key material, and errors of libraries never leak: they are converted at the boundary
and kept as the cause.
"""

from typing import ClassVar

__all__ = [
    "ClaimsUnsupportedError",
    "ContentKeyInvalidError",
    "DeviceKeyExistsError",
    "DeviceKeyMismatchError",
    "DeviceKeyMissingError",
    "ExpiredError",
    "FileAccessError",
    "GpuMismatchError",
    "GpuRequiredError",
    "GpuUnreadableError",
    "GrantInvalidError",
    "LicenseMalformedError",
    "LicensingError",
    "MachineIdUnavailableError",
    "MachineMismatchError",
    "MalformedError",
    "ModelNotLicensedError",
    "NotYetValidError",
    "OutputExistsError",
    "PassphraseError",
    "RegistryError",
    "RequestMalformedError",
    "SignatureInvalidError",
    "StorageError",
    "TrustMalformedError",
    "TrustMissingError",
    "UntrustedVendorError",
    "UsageError",
    "VendorHomeError",
    "WeightlockError",
]


class WeightlockError(Exception):
    """The base of every error of this distribution.

    Args:
        message: one sentence, lower case, without a full stop.
        *hints: what the reader can do about it, one sentence each.
        reason: the stable code, where one class serves several.
    """

    reason: str = "error"
    default_hints: ClassVar[tuple[str, ...]] = ()

    def __init__(self, message: str, *hints: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hints: tuple[str, ...] = hints or self.default_hints
        if reason is not None:
            self.reason = reason


class LicensingError(WeightlockError):
    """The base of everything that the package `licensing` raises."""

    reason = "licensing_error"


class UsageError(LicensingError):
    """The caller asked for something that cannot be meant."""

    reason = "usage"


# Files and storage.


class FileAccessError(LicensingError):
    """A file is missing, is not a regular file, or cannot be read."""

    reason = "file_unreadable"


class OutputExistsError(LicensingError):
    """The output exists already, and the caller did not ask to replace it."""

    reason = "output_exists"
    default_hints = ("choose another name, or say --force to replace it",)


class StorageError(LicensingError):
    """Writing failed: the disk is full, the directory is not writable, the device reports an error."""

    reason = "storage_failed"


# Formats.


class MalformedError(LicensingError):
    """The base of the errors about input that does not follow its specification."""

    reason = "malformed"


class LicenseMalformedError(MalformedError):
    """The license file does not follow docs/spec/license.md."""

    reason = "license_malformed"
    default_hints = ("ask the vendor to send the license file again",)


class RequestMalformedError(MalformedError):
    """The license request does not follow docs/spec/license.md."""

    reason = "request_malformed"
    default_hints = ("ask the customer to run 'weightlock request' and to send the file again",)


class TrustMalformedError(MalformedError):
    """The trust file does not follow docs/spec/license.md."""

    reason = "trust_malformed"
    default_hints = ("take the trust file from the vendor again",)


class ClaimsUnsupportedError(LicenseMalformedError):
    """The license demands something that this version does not understand."""

    reason = "license_unsupported"
    default_hints = ("install a newer weightlock",)


class ContentKeyInvalidError(LicensingError):
    """A content key is not 32 bytes, nor the base64 form of 32 bytes, nor a file that holds either."""

    reason = "crypt_key_invalid"


# Unlock, in the order of its steps.


class TrustMissingError(LicensingError):
    """There is no trust file to verify the license with."""

    reason = "trust_missing"
    default_hints = ("take trust.jwks from the vendor and name it with --trust",)


class UntrustedVendorError(LicensingError):
    """The license is signed by a key that the trust file does not hold."""

    reason = "untrusted_vendor"
    default_hints = ("check that the trust file is the one of the vendor who issued this license",)


class SignatureInvalidError(LicensingError):
    """The signature does not verify: the signed text was changed, or another key signed it."""

    reason = "signature_invalid"
    default_hints = ("the file was edited or damaged after it was signed; ask for it again",)


class NotYetValidError(LicensingError):
    """The license begins in the future, by this machine's clock."""

    reason = "not_yet_valid"


class ExpiredError(LicensingError):
    """The license has ended, by this machine's clock."""

    reason = "expired"
    default_hints = ("ask the vendor to renew the license; the locked model stays as it is",)


class ModelNotLicensedError(LicensingError):
    """The license does not name this model, or names it under another content key."""

    reason = "model_not_licensed"


class MachineIdUnavailableError(LicensingError):
    """This system has no stable machine ID."""

    reason = "machine_id_unavailable"


class MachineMismatchError(LicensingError):
    """No slot of the license is for this machine."""

    reason = "machine_mismatch"
    default_hints = ("run 'weightlock request' on this machine and send the file to the vendor",)


class GpuMismatchError(LicensingError):
    """The license is for this machine, but for none of the GPUs in it."""

    reason = "gpu_mismatch"


class GpuUnreadableError(LicensingError):
    """The license wants a GPU, and the NVIDIA driver did not tell which are there."""

    reason = "gpu_unreadable"


class GpuRequiredError(LicensingError):
    """The request names no GPU, and the vendor did not allow that."""

    reason = "gpu_required"


class DeviceKeyMissingError(LicensingError):
    """There is no device key in the customer's home directory."""

    reason = "device_key_missing"
    default_hints = (
        "name the home directory that 'weightlock request' used with --home",
        "a lost device key cannot be made again: send the vendor a new request",
    )


class DeviceKeyMismatchError(LicensingError):
    """The device key belongs to another machine, is damaged, or is not the one that the license names."""

    reason = "device_key_mismatch"


class DeviceKeyExistsError(LicensingError):
    """A device key is there already; replacing it would make the licenses bound to it useless."""

    reason = "device_key_exists"


class GrantInvalidError(LicensingError):
    """The license's grant does not yield the content key on this machine."""

    reason = "grant_invalid"
    default_hints = ("the grants of this file belong to another license; ask the vendor to send it again",)


# The vendor's home.


class VendorHomeError(LicensingError):
    """The vendor's home directory is missing, damaged, or exists already."""

    reason = "vendor_home_invalid"


class PassphraseError(LicensingError):
    """The passphrase of the vendor's home is wrong or was not given."""

    reason = "passphrase_wrong"


class RegistryError(LicensingError):
    """The registry refused: unknown model, conflicting record, locked or damaged database."""

    reason = "registry_failed"
