"""Every error that licensing raises, each with the stable reason code that `--json` prints.

A message says what is wrong in one sentence (lower case, no full stop); hints say what to do about it.
Messages never contain key material, and errors of libraries never leak: they are converted at the boundary
and kept as the cause.
"""

from typing import ClassVar

__all__ = [
    "ChallengeError",
    "ChallengeMalformedError",
    "ClaimsUnsupportedError",
    "ClockFakedError",
    "ClockResetMalformedError",
    "ClockResetUsedError",
    "ClockRollbackError",
    "ClockStateInvalidError",
    "ClockStateMissingError",
    "ClockStateReplayedError",
    "ClockStateUnwritableError",
    "ContentKeyInvalidError",
    "DeviceKeyAmbiguousError",
    "DeviceKeyExistsError",
    "DeviceKeyMismatchError",
    "DeviceKeyMissingError",
    "DriverUntrustedError",
    "EndorsementError",
    "ExpiredError",
    "FileAccessError",
    "GpuDisagreementError",
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
    "ResponseInvalidError",
    "SignatureInvalidError",
    "StartHistoryInvalidError",
    "StorageError",
    "TpmLibraryMissingError",
    "TpmProofRequiredError",
    "TpmUnavailableError",
    "TrustMalformedError",
    "TrustMissingError",
    "UntrustedVendorError",
    "UsageError",
    "VendorHomeError",
    "VirtualGpuError",
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
    default_hints = (
        "run 'weightlock request' on this machine and send the file to the vendor",
        "a system that was installed anew is another machine, and so is a container without the host's machine ID",
    )


class GpuMismatchError(LicensingError):
    """The license is for this machine, but for none of the GPUs in it."""

    reason = "gpu_mismatch"


class GpuUnreadableError(LicensingError):
    """The license wants a GPU, and the NVIDIA driver did not tell which are there."""

    reason = "gpu_unreadable"


class GpuDisagreementError(LicensingError):
    """NVML, CUDA and the kernel's driver do not say the same of the GPU that is to compute."""

    reason = "gpu_disagreement"
    default_hints = (
        "parts of two drivers are in use, or one of them was replaced: install the NVIDIA driver again and restart",
        "'weightlock doctor' says more; tell the vendor if it stays so",
    )


class DriverUntrustedError(LicensingError):
    """A library of the NVIDIA driver was loaded from where no driver is, or where others than root can change it."""

    reason = "driver_untrusted"
    default_hints = (
        "unset LD_LIBRARY_PATH and LD_PRELOAD, so that the library of the installed driver is loaded",
        "a driver that is installed elsewhere must be where root alone can change it, as 'ldconfig -p' lists it",
    )


class VirtualGpuError(LicensingError):
    """The GPU is a virtual one, and the license does not allow that."""

    reason = "vgpu_refused"
    default_hints = (
        "use a machine that has the GPU to itself, or ask the vendor for a license that allows virtual GPUs",
    )


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


class DeviceKeyAmbiguousError(LicensingError):
    """The home has a software device key and a TPM's: which one is meant would be a guess."""

    reason = "device_key_ambiguous"
    default_hints = (
        "move the one that no license is bound to out of the home",
        "each license says the thumbprint of its device key: 'weightlock inspect LICENSE' shows it",
    )


class GrantInvalidError(LicensingError):
    """The license's grant does not yield the content key on this machine."""

    reason = "grant_invalid"
    default_hints = ("the grants of this file belong to another license; ask the vendor to send it again",)


# The TPM, and proving to the vendor that a device key is in one.


class TpmUnavailableError(LicensingError):
    """The TPM does not answer, refuses, or cannot be opened by this user."""

    reason = "tpm_unavailable"
    default_hints = (
        "check that the TPM is there and that this user may open it: 'ls -l /dev/tpmrm0'; it is often the group tss's",
        "name another way to it with --tpm, or WEIGHTLOCK_TCTI where a license is used",
    )


class TpmLibraryMissingError(LicensingError):
    """The device key is in a TPM, and the package that talks to TPMs is not installed."""

    reason = "tpm_library_missing"
    default_hints = (
        "install it with: pip install 'weightlock[tpm]'",
        "building it takes the TSS libraries: 'apt-get install libtss2-dev pkg-config gcc'",
    )


class TpmProofRequiredError(LicensingError):
    """A request of the tier `tpm` that does not prove yet that its device key is in a TPM."""

    reason = "tpm_proof_required"
    default_hints = (
        "make a challenge for it with 'weightlock challenge', and issue to the response that the customer sends back",
    )


class EndorsementError(LicensingError):
    """The TPM is not one that the vendor's certificates vouch for."""

    reason = "endorsement_untrusted"


class ChallengeError(LicensingError):
    """The challenge is not for this box's last request, or not for this TPM; or it has ended."""

    reason = "challenge_mismatch"
    default_hints = ("make a new request and send it to the vendor",)


class ChallengeMalformedError(MalformedError):
    """The challenge or the response to one does not follow docs/spec/license.md."""

    reason = "challenge_malformed"
    default_hints = ("ask for the file again",)


class ResponseInvalidError(LicensingError):
    """The response does not prove that the device key is in the TPM that the challenge was made for."""

    reason = "response_invalid"
    default_hints = ("make a new challenge for the customer's request",)


# The clock.

_RESET_HINT = "send the vendor the license request of this box, and ask for a clock reset: 'weightlock apply' takes it"


class ClockFakedError(LicensingError):
    """The clock that this process is shown is behind the one that the system keeps."""

    reason = "clock_faked"
    default_hints = ("start the program without what changes the time that it sees, such as faketime",)


class ClockRollbackError(LicensingError):
    """The clock is behind a time that it has shown before."""

    reason = "clock_rollback"
    default_hints = (
        "set the clock of this machine right; while it is right, nothing else is needed",
        f"if it was ahead before and is right now: {_RESET_HINT}",
    )


class ClockStateMissingError(LicensingError):
    """The file with the highest time seen is not there."""

    reason = "clock_state_missing"
    default_hints = (
        "name the home directory that 'weightlock request' used with --home",
        f"if the file was lost: {_RESET_HINT}",
    )


class ClockStateInvalidError(MalformedError):
    """The file with the highest time seen was damaged, edited, or made with another device key."""

    reason = "clock_state_invalid"
    default_hints = (_RESET_HINT,)


class ClockStateReplayedError(LicensingError):
    """The file with the highest time seen was replaced by an older one, such as a backup."""

    reason = "clock_state_replayed"
    default_hints = (_RESET_HINT,)


class ClockStateUnwritableError(LicensingError):
    """The highest time seen cannot be stored."""

    reason = "clock_state_unwritable"
    default_hints = ("the customer's home must be writable, with some space left, for whoever uses the license",)


class ClockResetMalformedError(MalformedError):
    """The clock reset does not follow docs/spec/license.md."""

    reason = "clock_reset_malformed"
    default_hints = ("ask the vendor to send the clock reset again",)


class ClockResetUsedError(LicensingError):
    """This clock reset has been applied before."""

    reason = "clock_reset_used"
    default_hints = ("each clock reset works once: ask the vendor for a new one, if it is needed again",)


class StartHistoryInvalidError(MalformedError):
    """The history of earlier starts was damaged or edited."""

    reason = "start_history_invalid"
    default_hints = ("remove start-history.json from the home: the history begins again with the next start",)


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
