"""Proving to the vendor that a device key is in a TPM, by a request, a challenge and a response: the vendor's side.

docs/spec/license.md, section 18. A device key in a TPM only decrypts, so it signs no request. The vendor encrypts a
secret to the TPM's endorsement key in such a way that the TPM gives it out only while it has that device key loaded,
and the box answers with an HMAC under the secret over everything that the request and the challenge say. The box's
side is `licensing.enrolment_box`.
"""

import hmac
import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from licensing.encoding import b64url_encode, to_epoch
from licensing.enrolment_files import (
    FORMAT_VERSION,
    MAX_RESPONSE_BYTES,
    Challenge,
    Response,
    TpmRequest,
    answer_of,
    challenge_digest,
)
from licensing.errors import MalformedError, ResponseInvalidError, VendorHomeError
from licensing.local_time import local_text
from licensing.request import LicenseRequest
from licensing.strict_json import parse_object

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["CHALLENGE_DAYS", "MadeChallenge", "is_response", "make_challenge", "read_response"]

CHALLENGE_DAYS = 30
"""How long a customer has to answer."""

CHALLENGE_SECRET_BYTES = 32
SEAL_PURPOSE = "tpm-challenge"

Seal = Callable[[str, str, bytes], bytes]
"""`MasterKey.seal` and `MasterKey.open_sealed`: of a purpose, a name, and what is sealed or to be opened."""


@dataclass(frozen=True)
class MadeChallenge:
    """A challenge that was just made, and the certificate that it relies on."""

    challenge: Challenge
    request: LicenseRequest
    certificate: "x509.Certificate"


def make_challenge(
    data: bytes, anchors: "Sequence[x509.Certificate]", vendor: str, seal: Seal, now: datetime
) -> MadeChallenge:
    """Checks the TPM behind a request, and makes a challenge that it alone can answer.

    Args:
        data: the request file.
        anchors: the certificates of makers of TPMs that the vendor trusts.
        vendor: the vendor's name.
        seal: the vendor's `MasterKey.seal`. What the vendor must remember travels with the challenge, sealed: there is
            nothing to keep, to lose, or to clear away.
        now: the time.

    Raises:
        RequestMalformedError: the request does not follow the specification.
        EndorsementError: the TPM is not one that `anchors` vouch for.
    """
    from licensing.endorsement import verify_endorsement
    from licensing.tpm_credential import make_credential

    request = TpmRequest.parse(data)
    certificate, endorsement_key = verify_endorsement(request.certificates, anchors, now)
    secret = secrets.token_bytes(CHALLENGE_SECRET_BYTES)
    credential = make_credential(endorsement_key, request.name, secret)
    claims: dict[str, Any] = {
        "ver": FORMAT_VERSION,
        "jti": str(uuid.uuid4()),
        "iss": vendor,
        "iat": to_epoch(now),
        "exp": to_epoch(now + timedelta(days=CHALLENGE_DAYS)),
        "request": b64url_encode(request.digest),
        "identity": b64url_encode(credential.identity),
        "seed": b64url_encode(credential.encrypted_seed),
    }
    sealed = seal(SEAL_PURPOSE, claims["jti"], secret + challenge_digest(claims))
    return MadeChallenge(Challenge.of({**claims, "seal": b64url_encode(sealed)}), request.request, certificate)


def is_response(data: bytes) -> bool:
    """Returns whether a file claims to be a response, and not a request with a software device key."""
    try:
        return "tpm_response" in parse_object(data, "file", MalformedError, MAX_RESPONSE_BYTES)
    except MalformedError:
        return False


def read_response(data: bytes, open_sealed: Seal, now: datetime | None) -> LicenseRequest:
    """Verifies a response, and returns the request that it proves.

    Args:
        data: the response file.
        open_sealed: the vendor's `MasterKey.open_sealed`.
        now: the time; None to renew what was proven in time before.

    Raises:
        ChallengeMalformedError, RequestMalformedError: it does not follow the specification.
        ResponseInvalidError: this vendor did not make the challenge, it has ended, or the answer is wrong.
    """
    response = Response.parse(data)
    request, challenge = response.request, response.challenge
    secret = _open_seal(challenge, open_sealed)
    if now is not None and now >= challenge.expires:
        raise ResponseInvalidError(
            f"the challenge that this response answers ended at {local_text(challenge.expires)}",
            reason="challenge_expired",
        )
    if request.digest != challenge.request_digest:
        raise ResponseInvalidError("the response is for another request than its challenge")
    if not hmac.compare_digest(response.answer, answer_of(secret, request, challenge)):
        raise ResponseInvalidError("the answer is wrong: the device key is not in the TPM that the request named")
    return request.request


def _open_seal(challenge: Challenge, open_sealed: Seal) -> bytes:
    try:
        record = open_sealed(SEAL_PURPOSE, challenge.challenge_id, challenge.sealed)
    except VendorHomeError as cause:
        raise ResponseInvalidError("this vendor did not make the challenge that the response answers") from cause
    secret, digest = record[:CHALLENGE_SECRET_BYTES], record[CHALLENGE_SECRET_BYTES:]
    if digest != challenge.digest:
        raise ResponseInvalidError("the challenge was changed since the vendor made it")
    return secret
