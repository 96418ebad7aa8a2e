"""The tables of the registry, and what must hold between them. Times are whole seconds since 1970 in UTC."""

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = [
    "SCHEMA_VERSION",
    "Base",
    "ContentKeyRow",
    "CustomerRow",
    "DeviceRow",
    "LicenseModelRow",
    "LicenseRow",
    "ModelRow",
]

SCHEMA_VERSION = 1
"""Stored as SQLite's `user_version`; a registry of another version is refused."""


class Base(DeclarativeBase):
    """The base of the tables."""


class ModelRow(Base):
    """One locked model."""

    __tablename__ = "models"

    model_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    model_type: Mapped[str]
    content_bytes: Mapped[int]
    created: Mapped[int]
    content_key: Mapped["ContentKeyRow"] = relationship(
        back_populates="model", cascade="all, delete-orphan", lazy="joined", innerjoin=True
    )


class ContentKeyRow(Base):
    """The content key of one model, sealed under the master key for the model's id and the key's."""

    __tablename__ = "content_keys"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.model_id"), unique=True)
    sealed: Mapped[bytes] = mapped_column(deferred=True)
    model: Mapped[ModelRow] = relationship(back_populates="content_key")


class CustomerRow(Base):
    """One customer, known by name."""

    __tablename__ = "customers"

    customer_id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class DeviceRow(Base):
    """One device key; customer and label are those of its last request."""

    __tablename__ = "devices"

    thumbprint: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.customer_id"), index=True)
    tier: Mapped[str]
    machine_label: Mapped[str]
    customer: Mapped[CustomerRow] = relationship(lazy="joined", innerjoin=True)


class LicenseRow(Base):
    """One license: its file as it was issued, and the request that it answers, which renewing needs again."""

    __tablename__ = "licenses"
    __table_args__ = (CheckConstraint("status IN ('issued', 'revoked')", name="known_status"),)

    number: Mapped[int] = mapped_column(primary_key=True)
    license_id: Mapped[str] = mapped_column(unique=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.customer_id"), index=True)
    device_thumbprint: Mapped[str] = mapped_column(ForeignKey("devices.thumbprint"), index=True)
    machine_label: Mapped[str]
    slot_labels: Mapped[str]
    """The labels of the slots, a line each: labels are printable text, which holds no line breaks."""
    issued: Mapped[int] = mapped_column(index=True)
    not_before: Mapped[int]
    expires: Mapped[int]
    status: Mapped[str]
    file: Mapped[bytes] = mapped_column(deferred=True)
    request: Mapped[bytes] = mapped_column(deferred=True)
    customer: Mapped[CustomerRow] = relationship(lazy="joined", innerjoin=True)
    device: Mapped[DeviceRow] = relationship()
    models: Mapped[list["LicenseModelRow"]] = relationship(lazy="selectin", order_by="LicenseModelRow.position")


class LicenseModelRow(Base):
    """One model that a license names, in the license's order."""

    __tablename__ = "license_models"
    __table_args__ = (UniqueConstraint("license_number", "position"),)

    license_number: Mapped[int] = mapped_column(ForeignKey("licenses.number"), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.model_id"), primary_key=True, index=True)
    position: Mapped[int]
    model: Mapped[ModelRow] = relationship(lazy="joined", innerjoin=True)
