"""Fuzz targets of what a box keeps and what an enrolment sends: time state, TPM key file, challenges, certificates."""

import functools
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from licensing.encoding import b64url_encode
from licensing.endorsement import first_certificate, verify_endorsement
from licensing.enrolment_files import Challenge, Response, TpmRequest
from licensing.errors import (
    ChallengeMalformedError,
    ClockStateInvalidError,
    DeviceKeyMismatchError,
    EndorsementError,
    RequestMalformedError,
    StartHistoryInvalidError,
)
from licensing.start_history import StartHistory
from licensing.time_state import TimeState
from licensing.tpm_device_key import open_tpm_device_key
from tests.fuzz.license_targets import claims_of_request
from tests.fuzz.material import STATE_KEY
from tests.fuzz.target import Target
from tests.fuzz.written import json_of, same_bytes, same_json, same_members

__all__ = ["AUTHORITY_KEY", "BOX_TARGETS", "NOW", "anchor"]

NOW = datetime(2026, 7, 1, tzinfo=timezone.utc)
AUTHORITY_KEY = ec.derive_private_key(0x5EED, ec.SECP256R1())
"""Of a maker of TPMs whom the vendor trusts."""


def _time_state_file(data: bytes) -> None:
    same_bytes(TimeState.parse(data, STATE_KEY).to_bytes(STATE_KEY), data)


def _time_state(state: bytes) -> None:
    """Authenticates a state that the device key would never have authenticated."""
    mac = b64url_encode(STATE_KEY.mac(state)).encode()
    _time_state_file(b'{"mac":"' + mac + b'","state":' + state + b"}")


def _start_history_file(data: bytes) -> None:
    same_bytes(StartHistory.parse(data, STATE_KEY.key).to_bytes(STATE_KEY.key), data)


def _start_history(history: bytes) -> None:
    """Authenticates a history that the device key would never have authenticated."""
    mac = b64url_encode(STATE_KEY.mac(history)).encode()
    _start_history_file(b'{"history":' + history + b',"mac":"' + mac + b'"}')


def _tpm_device_key(data: bytes) -> None:
    descriptor = os.memfd_create("device-key-tpm.json", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        key = open_tpm_device_key(Path(f"/proc/self/fd/{descriptor}"))
        same_bytes(key._file.to_bytes(), data)
    finally:
        os.close(descriptor)


def _tpm_request(data: bytes) -> None:
    request = TpmRequest.parse(data)
    same_json(request.to_bytes(), data)
    said = json_of(data)["tpm_request"]
    same_members(claims_of_request(request.request), said)
    certificates = [b64url_encode(certificate) for certificate in request.certificates]
    same_members({"tpm": {"certificates": certificates}}, said)
    assert len(request.digest) == 32
    assert len(request.name) == 34


def _challenge(data: bytes) -> None:
    challenge = Challenge.parse(data)
    same_json(challenge.to_bytes(), data)
    same_members(_challenge_members(challenge), json_of(data)["tpm_challenge"])


def _response(data: bytes) -> None:
    response = Response.parse(data)
    same_json(response.to_bytes(), data)
    same_members(_challenge_members(response.challenge), json_of(data)["tpm_response"]["challenge"])


def _challenge_members(challenge: Challenge) -> dict[str, Any]:
    return {
        "jti": challenge.challenge_id,
        "iss": challenge.vendor,
        "exp": int(challenge.expires.timestamp()),
        "request": b64url_encode(challenge.request_digest),
        "identity": b64url_encode(challenge.credential.identity),
        "seed": b64url_encode(challenge.credential.encrypted_seed),
        "seal": b64url_encode(challenge.sealed),
    }


@functools.cache
def anchor() -> x509.Certificate:
    """Returns the certificate of the maker of TPMs."""
    from tests.endorsement_certificates import Authority

    # The certificate of a new authority, for a key that is always the same.
    made = Authority.new("maker")
    builder = x509.CertificateBuilder(
        subject_name=made.certificate.subject,
        issuer_name=made.certificate.subject,
        public_key=AUTHORITY_KEY.public_key(),
        serial_number=1,
        not_valid_before=made.certificate.not_valid_before_utc,
        not_valid_after=made.certificate.not_valid_after_utc,
        extensions=[
            each
            for each in made.certificate.extensions
            if not isinstance(each.value, x509.SubjectKeyIdentifier | x509.AuthorityKeyIdentifier)
        ],
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(AUTHORITY_KEY.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return builder.sign(AUTHORITY_KEY, hashes.SHA256())


def _certificate(tbs: bytes) -> None:
    """Signs a certificate's content as its maker would, so that what reads its extensions is reached."""
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    signature = AUTHORITY_KEY.sign(tbs, ec.ECDSA(hashes.SHA256()))
    der = _der(0x30, tbs + algorithm + _der(0x03, b"\0" + signature))
    first_certificate(der + bytes(4))
    verify_endorsement([der], [anchor()], NOW)


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(digits)]) + digits + content


BOX_TARGETS = (
    Target("time-state-file", _time_state_file, (ClockStateInvalidError,)),
    Target("time-state", _time_state, (ClockStateInvalidError,)),
    Target("start-history-file", _start_history_file, (StartHistoryInvalidError,)),
    Target("start-history", _start_history, (StartHistoryInvalidError,)),
    Target("tpm-device-key", _tpm_device_key, (DeviceKeyMismatchError,)),
    Target("tpm-request", _tpm_request, (RequestMalformedError,)),
    Target("tpm-challenge", _challenge, (ChallengeMalformedError,)),
    Target("tpm-response", _response, (ChallengeMalformedError, RequestMalformedError)),
    Target("endorsement-certificate", _certificate, (EndorsementError,), json=False, max_bytes=4096),
)
