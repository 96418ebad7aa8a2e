"""What license requests, challenges to a TPM and the responses to them say, for `weightlock inspect`."""

from typing import Any

from licensing.local_time import local_text
from licensing.request import LicenseRequest
from tools.prove import history_facts, history_text

__all__ = ["describe_enrolment", "request_facts"]

Rows = list[tuple[str, str]]


def request_facts(request: LicenseRequest) -> tuple[dict[str, Any], Rows]:
    """Returns what a request says, for programs and for people."""
    facts = {
        "request_id": request.request_id,
        "created": request.created.isoformat(),
        "device": request.thumbprint,
        "tier": request.tier,
        "machine": request.machine_label,
        "machine_source": request.machine_source,
        "machine_fingerprint": request.machine_fingerprint,
        "gpus": [{"uuid": gpu.uuid, "name": gpu.name, "parent": gpu.parent_uuid} for gpu in request.gpus],
        "driver": request.driver_version,
        "generator": request.generator,
        **history_facts(request.history),
    }
    rows = [
        ("machine", f"{request.machine_label} (ID from {request.machine_source})"),
        *(("GPU", f"{gpu.name} {gpu.identity}") for gpu in request.gpus),
        *([] if request.gpus else [("GPU", "none: the machine alone")]),
        ("made", f"{local_text(request.created)} by {request.generator}"),
        ("tier", request.tier),
        ("device", request.thumbprint),
        *([("history", history_text(request.history))] if request.history else []),
    ]
    return facts, rows


def describe_enrolment(data: bytes, members: dict[str, Any]) -> tuple[str, dict[str, Any], Rows, str]:
    """Describes a file of an enrolment.

    Args:
        data: the file.
        members: its outer members, of which one tells what it is.
    """
    from licensing.enrolment_files import Challenge, Response, TpmRequest

    if "tpm_request" in members:
        facts, rows = _tpm_request(TpmRequest.parse(data))
        return "license request", facts, rows, "nothing of this is proven: 'weightlock challenge' asks the TPM"
    if "tpm_challenge" in members:
        facts, rows = _challenge(Challenge.parse(data))
        return "challenge to a TPM", facts, rows, "'weightlock respond' answers it, on the box of the request"
    response = Response.parse(data)
    facts, rows = _tpm_request(response.request)
    more, more_rows = _challenge(response.challenge)
    facts = {**facts, **more}
    return (
        "response to a challenge",
        facts,
        [*rows, *more_rows],
        "the vendor who made the challenge can verify the answer",
    )


def _tpm_request(request: Any) -> tuple[dict[str, Any], Rows]:
    from licensing.endorsement import first_certificate

    facts, rows = request_facts(request.request)
    certificate = first_certificate(request.certificates[0]) if request.certificates else None
    issuer = certificate.issuer.rfc4514_string() if certificate is not None else None
    return {**facts, "certificate_issuer": issuer}, [*rows, ("TPM certified by", issuer or "nobody")]


def _challenge(challenge: Any) -> tuple[dict[str, Any], Rows]:
    facts = {
        "challenge_id": challenge.challenge_id,
        "vendor": challenge.vendor,
        "expires": challenge.expires.isoformat(),
    }
    rows = [("vendor", challenge.vendor), ("until", local_text(challenge.expires)), ("id", challenge.challenge_id)]
    return facts, rows
