"""What a customer's box makes from a locked model, kept locked under the same license.

An engine built for a GPU, an optimised graph and a compiled model hold the weights of the model that they were made
from. Here they are kept in locked models of their own, under keys that are derived from the parent's content key.
docs/spec/container.md, section 7.
"""

import dataclasses
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptors.detect import check_type, detect_type
from cryptors.errors import (
    FrameworkUnsuitableError,
    ModelDamagedError,
    ModelMalformedError,
    ModelRejectedError,
    ModelTypeError,
)
from cryptors.factory import CryptorFactory
from cryptors.header import Header, Parent
from cryptors.keys import KeySource
from cryptors.memory import WrittenFile
from cryptors.model_type import ModelType, model_type_of
from cryptors.reader import read_header
from cryptors.source import ModelSource
from cryptors.writer import EncryptOptions, write_locked_model
from licensing.errors import FileAccessError
from licensing.files import check_output
from licensing.hardware import Hardware
from licensing.key_derivation import derived_content_key

__all__ = ["load_derived", "lock_derived"]

StrPath = str | os.PathLike[str]
Artefact = bytes | bytearray | memoryview | Callable[[str], Any]


def lock_derived(
    model: StrPath,
    artefact: Artefact,
    derived: StrPath,
    crypt_key: bytes | StrPath | None = None,
    *,
    license: StrPath | None = None,
    trust: StrPath | None = None,
    home: StrPath | None = None,
    hardware: Hardware | None = None,
    now: datetime | None = None,
    model_type: ModelType | str | None = None,
    options: EncryptOptions | None = None,
) -> Header:
    """Locks something that was made from a locked model, under the license of that model.

    `load_model` and `weightlock run` open what this writes with the license, or the content key, of the model.

    Args:
        model: the locked model that it was made from.
        artefact: its bytes; or a function that writes them to the path that it is given. The path is that of a memory
            file: nothing of it reaches a disk.
        derived: the locked model to write.
        crypt_key, license, trust, home, hardware, now: the key of `model`, as in `Cryptor.decrypt`.
        model_type: by default, what the artefact's content tells.
        options: see `EncryptOptions`; the name is by default that of the model.

    Returns:
        The header of the derived model.

    Raises:
        LicensingError: the license does not unlock the model here.
        ModelTypeError: the artefact is not of the type, or its type cannot be told.
        OutputExistsError, StorageError: the output cannot be written; nothing is left behind.
    """
    options = options or EncryptOptions()
    check_output(derived, options.replace, model)
    keys = KeySource(crypt_key, license, trust, home, hardware, now)
    header = read_header(model)
    parent = header.parent or Parent(header.model_id, header.key_id)
    key = derived_content_key(keys.licensed_key(header), parent.model_id, parent.key_id, options.model_id)
    options = dataclasses.replace(options, name=options.name or header.name, parent=parent)
    with WrittenFile() as memory:
        if callable(artefact):
            artefact(memory.path)
        else:
            memory.write(artefact)
        memory.seal()
        kind = _type_of(memory.path, model_type)
        source = ModelSource({f"derived.{kind.value}": Path(memory.path)}, directory=False)
        return write_locked_model(source, kind.value, key, derived, options)


def load_derived(
    model: StrPath,
    make: Callable[[str], Any],
    derived: StrPath,
    crypt_key: bytes | StrPath | None = None,
    *,
    license: StrPath | None = None,
    trust: StrPath | None = None,
    home: StrPath | None = None,
    hardware: Hardware | None = None,
    now: datetime | None = None,
    model_type: ModelType | str | None = None,
    **framework_options: Any,
) -> Any:
    """Loads what was made from a locked model, and makes and locks it first where that has not been done.

    It is made again, and replaced, where it was made from another model, is damaged, or is not accepted by the
    framework any more, as an engine is not after an update.

    Args:
        model: the locked model.
        make: writes the artefact to the path, in memory, that it is given; see `lock_derived`.
        derived: where the derived model is kept.
        crypt_key, license, trust, home, hardware, now: the key of `model`, as in `Cryptor.decrypt`.
        model_type: the type of what `make` writes; by default, what its content tells.
        **framework_options: as in `load_model`.

    Returns:
        What `load_model` returns for the derived model.

    Raises:
        LicensingError: the license does not unlock the model here.
        CryptorError: as `lock_derived` and `load_model`.
    """
    key: dict[str, Any] = {"license": license, "trust": trust, "home": home, "hardware": hardware, "now": now}

    def load() -> Any:
        cryptor = CryptorFactory.instance(read_header(derived).model_type)
        return cryptor.load(derived, crypt_key, **key, **framework_options)

    if _is_made_from(derived, model):
        try:
            return load()
        except (ModelDamagedError, ModelMalformedError, ModelRejectedError, FrameworkUnsuitableError):
            pass
    options = EncryptOptions(replace=True)
    lock_derived(model, make, derived, crypt_key, **key, model_type=model_type, options=options)
    return load()


def _is_made_from(derived: StrPath, model: StrPath) -> bool:
    header = read_header(model)
    try:
        found = read_header(derived).parent
    except (FileAccessError, ModelMalformedError, ModelDamagedError):
        return False
    return found == (header.parent or Parent(header.model_id, header.key_id))


def _type_of(path: str, model_type: ModelType | str | None) -> ModelType:
    if model_type is not None:
        kind = model_type_of(model_type)
        check_type(path, kind)
        return kind
    detected = detect_type(path)
    if detected is None:
        raise ModelTypeError("the type of what was made from the model cannot be told", "name it with model_type")
    return detected
