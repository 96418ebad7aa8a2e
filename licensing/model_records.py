"""Models and their content keys in the registry, where each key is sealed for its model and its key id.

Each function works in a transaction that its caller began.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from licensing.encoding import from_epoch, to_epoch
from licensing.errors import RegistryError, UsageError
from licensing.issue import ModelKey
from licensing.master_key import MasterKey
from licensing.registry_tables import ContentKeyRow, LicenseModelRow, ModelRow
from licensing.request import UUID_PATTERN

__all__ = ["ModelRecord", "add_model", "all_models", "find_model", "open_model_key", "remove_model"]

_PURPOSE = "content-key"


@dataclass(frozen=True)
class ModelRecord:
    """One locked model, as the registry knows it.

    Attributes:
        model_id, key_id: the model and its content key's name, as the locked model's header gives them.
        name: for people.
        model_type: the framework's name for what it is.
        content_bytes: the length of the plaintext.
        created: when it was encrypted, in UTC.
    """

    model_id: str
    key_id: str
    name: str
    model_type: str
    content_bytes: int
    created: datetime

    @classmethod
    def of(cls, row: ModelRow) -> "ModelRecord":
        """Returns the record of a row."""
        key_id, created = row.content_key.key_id, from_epoch(row.created)
        return cls(row.model_id, key_id, row.name, row.model_type, row.content_bytes, created)


def add_model(session: Session, model: ModelRecord, content_key: bytes, master_key: MasterKey) -> None:
    """Adds a model and its content key.

    Raises:
        UsageError: the model's id is not a UUID.
        RegistryError: the model or its content key is there already.
    """
    if not _is_uuid(model.model_id):
        raise UsageError("a model's id is a UUID in lower case")
    if session.get(ModelRow, model.model_id) is not None:
        raise RegistryError(f"the registry has a model {model.model_id} already", reason="model_exists")
    if session.get(ContentKeyRow, model.key_id) is not None:
        raise RegistryError(
            "the content key belongs to another model already",
            "encrypt each model under a content key of its own",
            reason="content_key_exists",
        )
    sealed = master_key.seal(_PURPOSE, _sealed_name(model.model_id, model.key_id), content_key)
    row = ModelRow(
        model_id=model.model_id,
        name=model.name,
        model_type=model.model_type,
        content_bytes=model.content_bytes,
        created=to_epoch(model.created),
        content_key=ContentKeyRow(key_id=model.key_id, sealed=sealed),
    )
    session.add(row)


def remove_model(session: Session, model_id: str) -> None:
    """Removes a model and its content key.

    Raises:
        RegistryError: there is no such model, or a license names it.
    """
    row = find_model(session, model_id)
    if session.scalar(select(LicenseModelRow.model_id).where(LicenseModelRow.model_id == model_id).limit(1)):
        raise RegistryError(
            f"the model {row.name!r} is licensed; its content key must be kept", reason="model_licensed"
        )
    session.delete(row)


def find_model(session: Session, model_id: str) -> ModelRow:
    """Returns a model by its whole id.

    Raises:
        RegistryError: there is none.
    """
    row = session.get(ModelRow, model_id) if _is_uuid(model_id) else None
    if row is None:
        raise RegistryError(
            f"there is no model {model_id!r} in the registry",
            "give the whole model id, as 'weightlock inspect' prints it",
            "a model that was encrypted with another vendor's home is known there: name it with --home",
            reason="unknown_model",
        )
    return row


def all_models(session: Session) -> list[ModelRow]:
    """Returns every model, the oldest first."""
    return list(session.scalars(select(ModelRow).order_by(ModelRow.created, ModelRow.model_id)))


def open_model_key(session: Session, model_id: str, master_key: MasterKey) -> ModelKey:
    """Returns a model with its content key.

    Raises:
        RegistryError: there is no such model.
        VendorHomeError: the stored key was changed, or is another model's.
    """
    row = find_model(session, model_id)
    key_id = row.content_key.key_id
    content_key = master_key.open_sealed(_PURPOSE, _sealed_name(model_id, key_id), row.content_key.sealed)
    return ModelKey(model_id, key_id, row.name, content_key)


def _is_uuid(text: str) -> bool:
    return re.fullmatch(UUID_PATTERN, text, re.ASCII) is not None


def _sealed_name(model_id: str, key_id: str) -> str:
    return f"{model_id}/{key_id}"
