"""Encrypting and decrypting models: one cryptor per framework, one container for all of them.

    from cryptors import CryptorFactory, ModelType, load_model

No framework is imported before a model of its type is decrypted.
"""

from cryptors.base import Cryptor
from cryptors.derived import load_derived, lock_derived
from cryptors.errors import (
    CryptorError,
    FrameworkConflictError,
    FrameworkMissingError,
    FrameworkUnsuitableError,
    KeyMismatchError,
    ModelDamagedError,
    ModelMalformedError,
    ModelRejectedError,
    ModelSourceError,
    ModelTypeError,
    UnsafePickleError,
)
from cryptors.factory import CryptorFactory, load_model
from cryptors.header import Header
from cryptors.lock_model import lock_model
from cryptors.model_type import ModelType
from cryptors.reader import read_header
from cryptors.signature import Signature, TensorSpec
from cryptors.writer import EncryptOptions

__all__ = [
    "Cryptor",
    "CryptorError",
    "CryptorFactory",
    "EncryptOptions",
    "FrameworkConflictError",
    "FrameworkMissingError",
    "FrameworkUnsuitableError",
    "Header",
    "KeyMismatchError",
    "ModelDamagedError",
    "ModelMalformedError",
    "ModelRejectedError",
    "ModelSourceError",
    "ModelType",
    "ModelTypeError",
    "Signature",
    "TensorSpec",
    "UnsafePickleError",
    "load_derived",
    "load_model",
    "lock_derived",
    "lock_model",
    "read_header",
]
