"""Every error that cryptors raises, each with the stable reason code that `--json` prints."""

from licensing.errors import WeightlockError

__all__ = [
    "CryptorError",
    "FrameworkConflictError",
    "FrameworkMissingError",
    "FrameworkUnsuitableError",
    "KeyMismatchError",
    "MemoryUnavailableError",
    "ModelDamagedError",
    "ModelMalformedError",
    "ModelRejectedError",
    "ModelSourceError",
    "ModelTypeError",
    "UnsafePickleError",
]


class CryptorError(WeightlockError):
    """The base of everything that the package `cryptors` raises."""

    reason = "cryptor_error"


class ModelMalformedError(CryptorError):
    """The file is not a locked model, or one that this version cannot read."""

    reason = "model_malformed"


class ModelDamagedError(CryptorError):
    """The locked model was changed, cut short or lengthened since it was made. Nothing of it was released."""

    reason = "model_damaged"
    default_hints = ("take the locked model from the vendor again",)


class KeyMismatchError(CryptorError):
    """The content key is not the one that the model was encrypted with."""

    reason = "key_mismatch"


class ModelSourceError(CryptorError):
    """The plaintext model cannot be encrypted: it is missing, changes meanwhile, or holds what a container cannot."""

    reason = "model_source_invalid"


class ModelTypeError(CryptorError):
    """The model is not of the type that was asked for, or its type cannot be told."""

    reason = "model_type_mismatch"


class ModelRejectedError(CryptorError):
    """The framework did not accept the decrypted model; the framework's own error is the cause."""

    reason = "model_rejected"


class UnsafePickleError(CryptorError):
    """The model is a pickle that could run code on loading, and the caller did not allow that."""

    reason = "unsafe_pickle"


class MemoryUnavailableError(CryptorError, MemoryError):
    """There is not enough memory for the model, in this process or on the device."""

    reason = "out_of_memory"
    default_hints = ("free some memory, raise the limit that is set on the process, or take a larger machine",)


class FrameworkMissingError(CryptorError):
    """The framework of this model type is not installed."""

    reason = "framework_missing"


class FrameworkUnsuitableError(FrameworkMissingError):
    """The framework is installed, but this version or build of it cannot run the model."""

    reason = "framework_unsuitable"


class FrameworkConflictError(FrameworkMissingError):
    """The framework would crash this process, because another one is loaded already."""

    reason = "framework_conflict"
