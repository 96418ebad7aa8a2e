"""Licenses in the registry, with their customers and devices.

Each function works in a transaction that its caller began.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from licensing.encoding import from_epoch, to_epoch
from licensing.errors import RegistryError
from licensing.issue import IssuedLicense
from licensing.model_records import find_model
from licensing.registry_tables import CustomerRow, DeviceRow, LicenseModelRow, LicenseRow
from licensing.request import UUID_PATTERN, LicenseRequest

__all__ = ["LicenseRecord", "add_license", "all_licenses", "find_license"]


@dataclass(frozen=True)
class LicenseRecord:
    """One license, as the registry knows it. Times are in UTC.

    Attributes:
        license_id: the license's `jti`.
        customer: the customer's name.
        device_thumbprint: the device key that the license is bound to.
        machine_label: the machine, for people, as its request named it.
        slots: the slots' labels.
        models: the names of the models that it licenses.
        issued, not_before, expires: as the license says them.
        status: "issued" or "revoked".
    """

    license_id: str
    customer: str
    device_thumbprint: str
    machine_label: str
    slots: tuple[str, ...]
    models: tuple[str, ...]
    issued: datetime
    not_before: datetime
    expires: datetime
    status: str

    @classmethod
    def of(cls, row: LicenseRow) -> "LicenseRecord":
        """Returns the record of a row."""
        return cls(
            license_id=row.license_id,
            customer=row.customer.name,
            device_thumbprint=row.device_thumbprint,
            machine_label=row.machine_label,
            slots=tuple(row.slot_labels.split("\n")),
            models=tuple(licensed.model.name for licensed in row.models),
            issued=from_epoch(row.issued),
            not_before=from_epoch(row.not_before),
            expires=from_epoch(row.expires),
            status=row.status,
        )


def add_license(session: Session, request: LicenseRequest, request_data: bytes, issued: IssuedLicense) -> None:
    """Adds a license, and its customer and device where they are new.

    Args:
        session: of a writing transaction.
        request, request_data: the request that it answers, and its file.
        issued: the license.

    Raises:
        RegistryError: a model is not there.
    """
    claims = issued.claims
    for model in claims.models:
        find_model(session, model.model_id)
    device = _device(session, request, claims.customer)
    row = LicenseRow(
        license_id=claims.license_id,
        customer=device.customer,
        device=device,
        machine_label=request.machine_label,
        slot_labels="\n".join(slot.label for slot in claims.slots),
        issued=to_epoch(claims.issued),
        not_before=to_epoch(claims.not_before),
        expires=to_epoch(claims.expires),
        status="issued",
        file=issued.data,
        request=request_data,
        models=[
            LicenseModelRow(model_id=model.model_id, position=number) for number, model in enumerate(claims.models)
        ],
    )
    session.add(row)


def find_license(session: Session, license_id: str) -> LicenseRow:
    """Returns a license by its whole id, with its file and its request.

    Raises:
        RegistryError: there is none.
    """
    row = None
    if re.fullmatch(UUID_PATTERN, license_id, re.ASCII):
        wanted = select(LicenseRow).where(LicenseRow.license_id == license_id)
        row = session.scalar(wanted.options(undefer(LicenseRow.file), undefer(LicenseRow.request)))
    if row is None:
        raise RegistryError(
            f"there is no license {license_id!r}", "'weightlock licenses' lists them", reason="unknown_license"
        )
    return row


def all_licenses(session: Session) -> list[LicenseRow]:
    """Returns every license without its file, in the order in which they were issued."""
    return list(session.scalars(select(LicenseRow).order_by(LicenseRow.issued, LicenseRow.number)))


def _device(session: Session, request: LicenseRequest, customer_name: str) -> DeviceRow:
    """Returns the device that made a request, recorded where it is new, with the customer and label that it now has."""
    customer = session.scalar(select(CustomerRow).where(CustomerRow.name == customer_name))
    device = session.get(DeviceRow, request.thumbprint) or DeviceRow(thumbprint=request.thumbprint, tier=request.tier)
    # The last license names the owner: a box can change hands, and a mistyped name must not stay with it for ever.
    device.customer = customer or CustomerRow(name=customer_name)
    device.machine_label = request.machine_label
    session.add(device)
    return device
