"""The vendor's one call: encrypt a model under a fresh content key, and keep the key in the vendor's home."""

import contextlib
import dataclasses
import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from cryptors.detect import detect_type
from cryptors.errors import CryptorError, ModelTypeError
from cryptors.factory import CryptorFactory
from cryptors.header import Header
from cryptors.model_type import ModelType
from cryptors.reader import read_header
from cryptors.writer import EncryptOptions
from licensing.content_key import new_content_key
from licensing.errors import WeightlockError

if TYPE_CHECKING:  # The database library behind it is the vendor's alone, and slow to import.
    from licensing.vendor_home import VendorHome

__all__ = ["lock_model"]

StrPath = str | os.PathLike[str]


def lock_model(
    vendor: "VendorHome",
    model: StrPath,
    locked: StrPath,
    model_type: ModelType | str | None = None,
    options: EncryptOptions | None = None,
) -> Header:
    """Encrypts a model under a fresh content key, and records model and key in the vendor's home.

    The key is recorded when the locked model is whole and before it gets its name: no locked model exists whose key is
    not recorded. A process that is killed between the two leaves a record without a file, which harms nobody.

    Args:
        vendor: the vendor's home, open.
        model: the plaintext model: a file or a directory.
        locked: the locked model to write.
        model_type: by default, what the model's content tells.
        options: see `EncryptOptions`.

    Returns:
        The header of the locked model.

    Raises:
        CryptorError, LicensingError: as `Cryptor.encrypt` and `VendorHome.add_model`.
    """
    options = options or EncryptOptions()
    now = options.now or datetime.now(timezone.utc)
    content_key = new_content_key()
    recorded: list[str] = []

    def record(header: Header) -> None:
        recorded.append(header.model_id)
        vendor.add_model(
            model_id=header.model_id,
            name=header.name,
            model_type=header.model_type,
            content_key=content_key,
            content_bytes=header.content_bytes,
            created=now,
        )
        before_publish(header)

    before_publish = options.before_publish
    cryptor = CryptorFactory.instance(model_type or _detected_type(model))
    try:
        return cryptor.encrypt(model, content_key, locked, dataclasses.replace(options, before_publish=record, now=now))
    except BaseException:
        for model_id in recorded:
            _forget_unpublished(vendor, model_id, locked)
        raise


def _detected_type(model: StrPath) -> ModelType:
    detected = detect_type(model)
    if detected is None:
        raise ModelTypeError(f"the type of the model {os.fspath(model)!r} cannot be told", "name it with --type")
    return detected


def _forget_unpublished(vendor: "VendorHome", model_id: str, locked: StrPath) -> None:
    """Removes the record of a model whose file did not get its name.

    The failure may also have come after that, such as an interrupt or a disk that fails to flush its directory: the
    file is whole then, and its content key must not be lost.
    """
    # The failure that ended the encryption is the one to tell, and a record too many harms nobody.
    with contextlib.suppress(WeightlockError):
        try:
            published = os.path.lexists(locked) and read_header(locked).model_id == model_id
        except CryptorError:  # What was there before and was to be replaced, and is no locked model.
            published = False
        if not published:
            vendor.remove_model(model_id)
