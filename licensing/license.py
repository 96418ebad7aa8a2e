"""The license and the file that carries it with its grants. docs/spec/license.md, sections 12 and 13."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from licensing.content_key import KEY_ID_PATTERN
from licensing.encoding import MAX_EPOCH, b64url_decode, b64url_encode, from_epoch
from licensing.errors import ClaimsUnsupportedError, LicenseMalformedError
from licensing.jwk import THUMBPRINT_PATTERN
from licensing.jws import SignedText, parse_signed
from licensing.key_derivation import GRANT_BYTES
from licensing.policy import Policy, read_policy
from licensing.request import UUID_PATTERN
from licensing.strict_json import Fields, canonical, parse_object

__all__ = [
    "LICENSE_TYPE",
    "MAX_LICENSE_BYTES",
    "License",
    "LicenseFile",
    "LicensedModel",
    "Slot",
    "read_claims",
]

LICENSE_TYPE = "weightlock-license+jwt"
LICENSE_VERSION = 1
MAX_LICENSE_BYTES = 4 * 1024 * 1024
MAX_MODELS = 1000
MAX_SLOTS = 256
SALT_BYTES = 16
SLOT_ID_PATTERN = "slot-[1-9][0-9]{0,2}"
UNDERSTOOD_CLAIMS = (
    *("ver", "iss", "sub", "jti", "iat", "nbf", "exp", "cnf", "tier"),
    *("salt", "slots", "models", "features", "policy", "secret", "generator"),
)
"""What `crit` may name. A later version that adds a claim which old readers must not ignore names it there."""


@dataclass(frozen=True)
class Slot:
    """One allowed combination of hardware.

    Attributes:
        slot_id: "slot-1", "slot-2", …
        machine_digest, machine_label: the machine, as a salted digest and as text for people.
        gpu_digest, gpu_label: the GPU likewise; None for a slot of the machine alone.
    """

    slot_id: str
    machine_digest: bytes
    machine_label: str
    gpu_digest: bytes | None
    gpu_label: str | None

    @property
    def label(self) -> str:
        """The slot's hardware for people."""
        return self.machine_label if self.gpu_label is None else f"{self.gpu_label} in {self.machine_label}"


@dataclass(frozen=True)
class LicensedModel:
    """One model that a license names."""

    model_id: str
    key_id: str
    name: str


@dataclass(frozen=True)
class License:
    """The claims of a license. Times are in UTC; `expires` is the first moment at which it no longer holds."""

    license_id: str
    vendor: str
    customer: str
    issued: datetime
    not_before: datetime
    expires: datetime
    device_thumbprint: str
    tier: str
    salt: bytes
    slots: tuple[Slot, ...]
    models: tuple[LicensedModel, ...]
    features: tuple[str, ...]
    policy: Policy
    wrapped_secret: bytes
    generator: str

    def model(self, model_id: str) -> LicensedModel | None:
        """Returns the model of this id, if the license names it."""
        return next((model for model in self.models if model.model_id == model_id), None)


@dataclass(frozen=True)
class LicenseFile:
    """A license file taken apart; nothing in it is verified yet.

    Attributes:
        signed: the license, L.
        grants: wrapped content keys by model id and slot id.
    """

    signed: SignedText
    grants: dict[tuple[str, str], bytes]

    @classmethod
    def parse(cls, data: bytes) -> "LicenseFile":
        """Parses a license file.

        Raises:
            LicenseMalformedError: it does not follow the specification.
        """
        outer = Fields(
            parse_object(data, "license", LicenseMalformedError, MAX_LICENSE_BYTES), "license", LicenseMalformedError
        )
        if "license" not in outer:
            raise LicenseMalformedError("the file is not a license", "name the file that the vendor issued")
        outer.only("license", "grants")
        text = outer.text("license", MAX_LICENSE_BYTES)
        signed = parse_signed(text, LICENSE_TYPE, "license", LicenseMalformedError)
        pairs = outer.array("grants", 1, MAX_MODELS * MAX_SLOTS, _read_grant)
        grants = dict(pairs)
        if len(grants) != len(pairs):
            raise LicenseMalformedError("the license is malformed: it grants the same model and slot twice")
        return cls(signed, grants)

    def to_bytes(self) -> bytes:
        """Returns the file in canonical form."""
        return license_file_bytes(self.signed.text, self.grants)


def license_file_bytes(license_text: str, grants: dict[tuple[str, str], bytes]) -> bytes:
    """Returns a license file in canonical form."""
    members = [
        {"model": model_id, "slot": slot_id, "key": b64url_encode(grant)}
        for (model_id, slot_id), grant in grants.items()
    ]
    return canonical({"license": license_text, "grants": members})


def read_claims(file: LicenseFile) -> License:
    """Parses the claims of a license, and checks that the file's grants are those that it calls for.

    Raises:
        LicenseMalformedError: they do not follow the specification.
        ClaimsUnsupportedError: they demand something that this version does not know.
    """
    fields = Fields(file.signed.claims("license", LicenseMalformedError), "license", LicenseMalformedError)
    if fields.integer("ver") != LICENSE_VERSION:
        raise ClaimsUnsupportedError("the license has an unknown version")
    if "crit" in fields:
        for name in fields.array("crit", 1, 100, _read_text):
            if name not in UNDERSTOOD_CLAIMS:
                raise ClaimsUnsupportedError(f"the license demands {name!r}, which this version does not know")
    claims = _read_fields(fields)
    _check_consistency(claims, file)
    return claims


def _read_fields(fields: Fields) -> License:
    return License(
        license_id=fields.text("jti", 36, UUID_PATTERN),
        vendor=fields.text("iss"),
        customer=fields.text("sub"),
        issued=from_epoch(fields.integer("iat", 0, MAX_EPOCH)),
        not_before=from_epoch(fields.integer("nbf", 0, MAX_EPOCH)),
        expires=from_epoch(fields.integer("exp", 0, MAX_EPOCH)),
        device_thumbprint=fields.nested("cnf").text("jkt", 43, THUMBPRINT_PATTERN),
        tier=fields.text("tier", 20, "software|tpm"),
        salt=_bytes(fields, "salt", SALT_BYTES, SALT_BYTES),
        slots=tuple(fields.array("slots", 1, MAX_SLOTS, _read_slot)),
        models=tuple(fields.array("models", 1, MAX_MODELS, _read_model)),
        features=tuple(fields.array("features", 0, 1000, _read_text)),
        policy=read_policy(fields.raw("policy")),
        wrapped_secret=_bytes(fields, "secret", 256, 512),
        generator=fields.text("generator"),
    )


def _check_consistency(claims: License, file: LicenseFile) -> None:
    slot_ids = {slot.slot_id for slot in claims.slots}
    model_ids = {model.model_id for model in claims.models}
    if len(slot_ids) != len(claims.slots) or len(model_ids) != len(claims.models):
        raise LicenseMalformedError("the license is malformed: it names a slot or a model twice")
    if claims.not_before >= claims.expires:
        raise LicenseMalformedError("the license is malformed: it ends before it begins")
    if set(file.grants) != {(model, slot) for model in model_ids for slot in slot_ids}:
        raise LicenseMalformedError("the grants of the license file are not those that its license calls for")


def _read_grant(value: Any, what: str) -> tuple[tuple[str, str], bytes]:
    fields = Fields.of(value, what, LicenseMalformedError)
    fields.only("model", "slot", "key")
    names = fields.text("model", 36, UUID_PATTERN), fields.text("slot", 10, SLOT_ID_PATTERN)
    return names, _bytes(fields, "key", GRANT_BYTES, GRANT_BYTES)


def _read_slot(value: Any, what: str) -> Slot:
    fields = Fields.of(value, what, LicenseMalformedError)
    machine = fields.nested("machine")
    gpu = fields.nested("gpu") if "gpu" in fields else None
    return Slot(
        slot_id=fields.text("id", 10, SLOT_ID_PATTERN),
        machine_digest=_bytes(machine, "digest", 32, 32),
        machine_label=machine.text("label"),
        gpu_digest=_bytes(gpu, "digest", 32, 32) if gpu else None,
        gpu_label=gpu.text("label", 250) if gpu else None,
    )


def _read_model(value: Any, what: str) -> LicensedModel:
    fields = Fields.of(value, what, LicenseMalformedError)
    return LicensedModel(
        fields.text("id", 36, UUID_PATTERN), fields.text("kid", 32, KEY_ID_PATTERN), fields.text("name")
    )


def _read_text(value: Any, what: str) -> str:
    return Fields({"text": value}, what, LicenseMalformedError).text("text")


def _bytes(fields: Fields, name: str, low: int, high: int) -> bytes:
    try:
        data = b64url_decode(fields.text(name, 4 * high))
    except ValueError:
        fields.fail(name, "base64url")
    if not low <= len(data) <= high:
        fields.fail(name, f"base64url of {low} to {high} bytes")
    return data
