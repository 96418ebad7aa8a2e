"""Proving to the vendor that a device key is in a TPM: the box's side.

docs/spec/license.md, section 18. The box keeps a copy of its last request and answers for nothing else: a challenge
for a request that somebody changed on the way gets no answer.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from licensing.encoding import b64url_encode
from licensing.enrolment_files import Challenge, Response, TpmRequest, answer_of
from licensing.errors import ChallengeError, EndorsementError, FileAccessError, MalformedError
from licensing.files import read_bounded, write_new_file
from licensing.gpus import Gpu
from licensing.hardware import Hardware
from licensing.local_time import local_text
from licensing.request import MAX_REQUEST_BYTES, request_claims
from licensing.start_history import StartHistory
from licensing.tpm import Tpm, open_tpm
from licensing.tpm_device_key import TpmDeviceKey

__all__ = ["make_tpm_request", "respond"]

ENDORSEMENT_KEYS = ("EK-RSA2048", "EK-ECC256")
"""The keys of the TCG EK Credential Profile's low range, the one that every TPM has first."""

CHAIN_INDICES = 0x01C00100, 0x01C001FF
"""Where TPMs keep the certificates above their own (TCG EK Credential Profile, section 2.2.1.5.2)."""


def make_tpm_request(
    device_key: TpmDeviceKey,
    home: Path,
    hardware: Hardware,
    gpus: Sequence[Gpu],
    now: datetime,
    certificates: Sequence[bytes] = (),
    history: StartHistory | None = None,
) -> bytes:
    """Returns a license request file of the tier `tpm`, and keeps a copy of it in the home.

    Args:
        device_key: the key in the TPM.
        home: the customer's home.
        hardware, gpus, now, history: as in `licensing.request.make_request`.
        certificates: the endorsement certificate and those above it, in DER, where the TPM does not hold them itself.

    Raises:
        DeviceKeyMismatchError: another TPM made the device key.
        EndorsementError: the TPM has no certificate for its endorsement key, or those given are not for it.
        TpmUnavailableError, TpmLibraryMissingError: the TPM cannot be asked.
        StorageError: the file system refused.
    """
    with open_tpm(device_key.tcti) as tpm:
        tpm.forget(device_key.load(tpm))  # A key of another TPM is better refused here than by the vendor.
        chain = _certificates_of(tpm, certificates)
    claims: dict[str, Any] = {
        **request_claims(device_key, hardware, gpus, now, history),
        "tpm": {
            "public": b64url_encode(device_key.public_area),
            "certificates": [b64url_encode(certificate) for certificate in chain],
        },
    }
    data = TpmRequest.of(claims).to_bytes()
    write_new_file(_copy_path(home), data, mode=0o600, replace=True)
    return data


def respond(device_key: TpmDeviceKey, home: Path, challenge_data: bytes, now: datetime) -> bytes:
    """Returns the response file to a challenge.

    Args:
        device_key: the key in the TPM.
        home: the customer's home, with the copy of the request.
        challenge_data: the challenge file.
        now: the time.

    Raises:
        ChallengeMalformedError: the challenge does not follow the specification.
        ChallengeError: it is for another request, another device key or another TPM, or it has ended.
        TpmUnavailableError, TpmLibraryMissingError: the TPM cannot be asked.
    """
    challenge, request = Challenge.parse(challenge_data), _last_request(home)
    if challenge.request_digest != request.digest:
        raise ChallengeError("the challenge is not for the last request that was made here")
    if request.request.thumbprint != device_key.thumbprint:
        raise ChallengeError("the device key was replaced since the request was made")
    if now >= challenge.expires:
        raise ChallengeError(
            f"the challenge ended at {local_text(challenge.expires)}",
            "ask the vendor for another one; the request is still good",
            "if that is not past, check the clock of this machine",
            reason="challenge_expired",
        )
    with open_tpm(device_key.tcti) as tpm:
        key = device_key.load(tpm)
        endorsement_key = _endorsement_key_of(tpm, request.certificates[0])
        secret = tpm.activate(key, endorsement_key, challenge.credential)
    return Response(request, challenge, answer_of(secret, request, challenge)).to_bytes()


def _certificates_of(tpm: Tpm, given: Sequence[bytes]) -> list[bytes]:
    """Returns the certificate of an endorsement key that the TPM really has, and those above it."""
    from licensing.endorsement import first_certificate, is_for_key, to_der

    for kind in ENDORSEMENT_KEYS:
        key, public_key, held = tpm.endorsement_key(kind)
        tpm.forget(key)
        for data in given or ([held] if held else []):
            certificate = first_certificate(data)
            if certificate is not None and is_for_key(certificate, public_key):
                above = given or tpm.nv_contents(*CHAIN_INDICES)
                others = [to_der(other) for other in map(first_certificate, above) if other not in (None, certificate)]
                return [to_der(certificate), *others]
    raise EndorsementError(
        "none of the certificates is for this TPM's endorsement key"
        if given
        else "the TPM holds no certificate for its endorsement key",
        "some makers publish it instead: get it from them, and name it with --tpm-certificate",
        reason="endorsement_missing",
    )


def _endorsement_key_of(tpm: Tpm, certificate: bytes) -> Any:
    from licensing.endorsement import first_certificate, is_for_key

    parsed = first_certificate(certificate)
    for kind in ENDORSEMENT_KEYS:
        key, public_key, _ = tpm.endorsement_key(kind)
        if parsed is not None and is_for_key(parsed, public_key):
            return key
        tpm.forget(key)
    raise ChallengeError("the request was made with another TPM than this one")


def _last_request(home: Path) -> TpmRequest:
    try:
        request = TpmRequest.parse(read_bounded(_copy_path(home), "request", MAX_REQUEST_BYTES))
    except FileAccessError as cause:
        raise ChallengeError("no request of a TPM was made in this home") from cause
    except MalformedError as cause:
        raise ChallengeError("the copy of the last request in this home is damaged") from cause
    if not request.certificates:
        raise ChallengeError("the copy of the last request in this home is damaged")
    return request


def _copy_path(home: Path) -> Path:
    return home / "tpm-request.json"
