"""The files of an enrolment: the request of a device key in a TPM, the vendor's challenge, and the box's response.

docs/spec/license.md, section 18. What they are for: `licensing.enrolment`.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from licensing.encoding import MAX_EPOCH, b64url_encode, framed, framed_sha256, from_epoch
from licensing.errors import ChallengeMalformedError, RequestMalformedError
from licensing.request import MAX_REQUEST_BYTES, UUID_PATTERN, LicenseRequest, read_request_claims
from licensing.strict_json import Fields, canonical, parse_object
from licensing.tpm_credential import Credential
from licensing.tpm_structures import device_key_public_area, name_of

__all__ = [
    "MAX_CHALLENGE_BYTES",
    "MAX_RESPONSE_BYTES",
    "Challenge",
    "Response",
    "TpmRequest",
    "answer_of",
    "challenge_digest",
]

MAX_CHALLENGE_BYTES = 16 * 1024
MAX_RESPONSE_BYTES = MAX_REQUEST_BYTES + MAX_CHALLENGE_BYTES + 4096
MAX_CERTIFICATES, MAX_CERTIFICATE_BYTES = 8, 8192
FORMAT_VERSION = 1
DIGEST_BYTES = 32
IDENTITY_BYTES = 68
"""Of a TPM2B_ID_OBJECT's content for a secret of 32 bytes: two TPM2B_DIGEST of 32 bytes each."""
MIN_SEED_BYTES, MAX_SEED_BYTES = 68, 256
"""An ephemeral point on P-256, or what RSA-2048 encrypted."""
MAX_SEAL_BYTES = 256


@dataclass(frozen=True)
class TpmRequest:
    """A license request of the tier `tpm`. Nothing in it is proven before its response is read.

    Attributes:
        request: what it says, as every request does.
        claims: the same, as it was written.
        certificates: DER: the TPM's endorsement certificate, and those between it and its maker's root.
    """

    request: LicenseRequest
    claims: dict[str, Any] = field(repr=False)
    certificates: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> "TpmRequest":
        """Parses a request file.

        Raises:
            RequestMalformedError: it does not follow the specification, or is not of the tier `tpm`.
        """
        what = "license request"
        outer = Fields(parse_object(data, what, RequestMalformedError, MAX_REQUEST_BYTES), what, RequestMalformedError)
        if "tpm_request" not in outer:
            raise RequestMalformedError(
                "the file is not a license request of the tier 'tpm'",
                "a request with a software device key needs no challenge: issue to it as it is",
            )
        outer.only("tpm_request")
        return cls.of(outer.raw("tpm_request"))

    @classmethod
    def of(cls, claims: dict[str, Any]) -> "TpmRequest":
        """Reads the claims; errors as in `parse`."""
        fields = Fields(claims, "license request", RequestMalformedError)
        request, tpm = read_request_claims(fields, "tpm"), fields.nested("tpm")
        public_area = tpm.binary("public", 1, 1024)
        # All of a device key's public area but its modulus is fixed, so this compares every attribute of the key.
        if request.public_key.key_size != 2048 or public_area != device_key_public_area(request.public_key):
            raise RequestMalformedError(
                "the device key of the license request is not one that a TPM keeps to itself and only decrypts with"
            )

        def certificate(value: Any, what: str) -> bytes:
            fields = Fields({"certificate": value}, what, RequestMalformedError)
            return fields.binary("certificate", 1, MAX_CERTIFICATE_BYTES)

        return cls(request, claims, tuple(tpm.array("certificates", 0, MAX_CERTIFICATES, certificate)))

    def to_bytes(self) -> bytes:
        """Returns the request file in canonical form."""
        return canonical({"tpm_request": self.claims})

    @property
    def digest(self) -> bytes:
        """What a challenge and an answer name it by: SHA-256 over the canonical form of its claims."""
        return framed_sha256(b"weightlock/1/tpm-request", canonical(self.claims))

    @property
    def name(self) -> bytes:
        """The device key's Name, by which a TPM knows it."""
        return name_of(device_key_public_area(self.request.public_key))


@dataclass(frozen=True)
class Challenge:
    """A challenge. `claims` is all of it as it was written.

    Attributes:
        challenge_id: a UUID.
        vendor: the name of the vendor who made it.
        expires: the first moment at which the vendor no longer takes a response.
        request_digest: the request that it is made for.
        credential: what the TPM opens.
        sealed: the vendor's own record of it, which only the vendor can open.
    """

    challenge_id: str
    vendor: str
    expires: datetime
    request_digest: bytes
    credential: Credential = field(repr=False)
    sealed: bytes = field(repr=False)
    claims: dict[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> "Challenge":
        """Parses a challenge file.

        Raises:
            ChallengeMalformedError: it does not follow the specification.
        """
        outer = _outer(data, "challenge", MAX_CHALLENGE_BYTES)
        if "tpm_challenge" not in outer:
            raise ChallengeMalformedError("the file is not a challenge", "name the file that the vendor sent")
        outer.only("tpm_challenge")
        return cls.of(outer.raw("tpm_challenge"))

    @classmethod
    def of(cls, claims: dict[str, Any]) -> "Challenge":
        """Reads the members; errors as in `parse`."""
        fields = Fields(claims, "challenge", ChallengeMalformedError)
        if fields.integer("ver") != FORMAT_VERSION:
            raise ChallengeMalformedError("the challenge has an unknown version", "install a newer weightlock")
        fields.only("ver", "jti", "iss", "iat", "exp", "request", "identity", "seed", "seal")
        fields.integer("iat", 0, MAX_EPOCH)
        return cls(
            challenge_id=fields.text("jti", 36, UUID_PATTERN),
            vendor=fields.text("iss"),
            expires=from_epoch(fields.integer("exp", 0, MAX_EPOCH)),
            request_digest=fields.binary("request", DIGEST_BYTES, DIGEST_BYTES),
            credential=Credential(
                fields.binary("identity", IDENTITY_BYTES, IDENTITY_BYTES),
                fields.binary("seed", MIN_SEED_BYTES, MAX_SEED_BYTES),
            ),
            sealed=fields.binary("seal", 1, MAX_SEAL_BYTES),
            claims=claims,
        )

    def to_bytes(self) -> bytes:
        """Returns the challenge file in canonical form."""
        return canonical({"tpm_challenge": self.claims})

    @property
    def digest(self) -> bytes:
        """SHA-256 over the canonical form of all members but `seal`."""
        return challenge_digest(self.claims)


@dataclass(frozen=True)
class Response:
    """A response to a challenge, with both in it: the vendor needs nothing else."""

    request: TpmRequest
    challenge: Challenge
    answer: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> "Response":
        """Parses a response file.

        Raises:
            ChallengeMalformedError, RequestMalformedError: it does not follow the specification.
        """
        outer = _outer(data, "response", MAX_RESPONSE_BYTES)
        if "tpm_response" not in outer:
            raise ChallengeMalformedError("the file is not a response to a challenge")
        outer.only("tpm_response")
        fields = outer.nested("tpm_response")
        if fields.integer("ver") != FORMAT_VERSION:
            raise ChallengeMalformedError("the response has an unknown version", "install a newer weightlock")
        fields.only("ver", "request", "challenge", "answer")
        return cls(
            TpmRequest.of(fields.raw("request")),
            Challenge.of(fields.raw("challenge")),
            fields.binary("answer", DIGEST_BYTES, DIGEST_BYTES),
        )

    def to_bytes(self) -> bytes:
        """Returns the response file in canonical form."""
        members = {
            "ver": FORMAT_VERSION,
            "request": self.request.claims,
            "challenge": self.challenge.claims,
            "answer": b64url_encode(self.answer),
        }
        return canonical({"tpm_response": members})


def answer_of(secret: bytes, request: TpmRequest, challenge: Challenge) -> bytes:
    """Returns HMAC-SHA256 (RFC 2104) under the challenge's secret over all that was said."""
    message = framed(b"weightlock/1/tpm-response", request.digest, challenge.digest)
    return hmac.digest(secret, message, hashlib.sha256)


def challenge_digest(claims: dict[str, Any]) -> bytes:
    """Returns SHA-256 over the canonical form of all members but `seal`."""
    said = {name: value for name, value in claims.items() if name != "seal"}
    return framed_sha256(b"weightlock/1/tpm-challenge", canonical(said))


def _outer(data: bytes, what: str, max_bytes: int) -> Fields:
    return Fields(parse_object(data, what, ChallengeMalformedError, max_bytes), what, ChallengeMalformedError)
