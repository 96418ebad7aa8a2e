"""Request, challenge and response: what the vendor believes of a TPM, and what the box answers to.

The TPM here is one on paper (`tests/endorsement_certificates.py`), so that its answers can be wrong in every way. Real
ones are in `test_tpm_credential.py` and `tests/tools/test_enrol_commands.py`.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from licensing.encoding import b64url_decode, b64url_encode
from licensing.enrolment import CHALLENGE_DAYS, is_response, make_challenge, read_response
from licensing.enrolment_files import Challenge, Response, TpmRequest, answer_of
from licensing.errors import LicensingError, RequestMalformedError
from licensing.jwk import to_jwk
from licensing.master_key import MasterKey
from licensing.request import read_request
from licensing.strict_json import canonical
from licensing.tpm_structures import device_key_public_area
from tests.endorsement_certificates import Authority, der, endorsement_certificate, open_credential
from tests.lock_scene import GPU, MACHINE, NOW

END = NOW + timedelta(days=CHALLENGE_DAYS)


@dataclass(frozen=True)
class Enrolment:
    """Who takes part: a maker of TPMs, a TPM's endorsement key and device key, and a vendor."""

    maker: Authority
    endorsement_key: rsa.RSAPrivateKey
    device_key: rsa.RSAPrivateKey
    vendor: MasterKey

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Returns a request's claims; what is None is left out."""
        public_key = self.device_key.public_key()
        certificate = endorsement_certificate(self.maker, self.endorsement_key.public_key())
        claims: dict[str, Any] = {
            "ver": 1,
            "jti": "7b3959d8-24e1-4f26-80c3-57c084d417de",
            "iat": int(NOW.timestamp()),
            "tier": "tpm",
            "cnf": {"jwk": to_jwk(public_key)},
            "machine": {"fingerprint": MACHINE.fingerprint, "label": "gpu-box-1", "source": MACHINE.source},
            "gpus": [{"uuid": GPU.uuid, "name": GPU.name}],
            "generator": "weightlock",
            "tpm": {
                "public": b64url_encode(device_key_public_area(public_key)),
                "certificates": [b64url_encode(der(certificate))],
            },
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def request(self, **changes: Any) -> bytes:
        return canonical({"tpm_request": self.claims(**changes)})

    def challenge(self, request: bytes, now: datetime = NOW) -> Challenge:
        made = make_challenge(request, [self.maker.certificate], "Löwe AI", self.vendor.seal, now)
        return Challenge.parse(made.challenge.to_bytes())

    def secret(self, request: TpmRequest, challenge: Challenge) -> bytes:
        credential = challenge.credential
        return open_credential(self.endorsement_key, request.name, credential.identity, credential.encrypted_seed)

    def response(self, request_data: bytes, challenge: Challenge) -> bytes:
        request = TpmRequest.parse(request_data)
        answer = answer_of(self.secret(request, challenge), request, challenge)
        return Response(request, challenge, answer).to_bytes()

    def read(self, response: bytes, now: datetime | None = NOW) -> Any:
        return read_response(response, self.vendor.open_sealed, now)


@pytest.fixture(scope="module")
def enrolment(small_key: rsa.RSAPrivateKey) -> Enrolment:
    device_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return Enrolment(Authority.new("Maker"), small_key, device_key, MasterKey.generate())


@pytest.fixture(scope="module")
def response(enrolment: Enrolment) -> dict[str, Any]:
    """Returns the members of a good response, to change."""
    request = enrolment.request()
    members: dict[str, Any] = json.loads(enrolment.response(request, enrolment.challenge(request)))["tpm_response"]
    return members


def reason(call: Callable[[], object]) -> str:
    with pytest.raises(LicensingError) as refusal:
        call()
    return refusal.value.reason


def refusal_of(enrolment: Enrolment, members: dict[str, Any], now: datetime | None = NOW) -> str:
    return reason(lambda: enrolment.read(canonical({"tpm_response": members}), now))


# What holds.


def test_a_right_answer_gives_the_request(enrolment: Enrolment) -> None:
    data = enrolment.request()
    request = enrolment.read(enrolment.response(data, enrolment.challenge(data)))
    assert (request.tier, request.machine_fingerprint) == ("tpm", MACHINE.fingerprint)
    assert request.public_key == enrolment.device_key.public_key()
    assert [gpu.uuid for gpu in request.gpus] == [GPU.uuid]


def test_the_challenge_says_what_it_is_for(enrolment: Enrolment) -> None:
    data = enrolment.request()
    challenge = enrolment.challenge(data)
    assert (challenge.vendor, challenge.expires) == ("Löwe AI", END)
    assert challenge.request_digest == TpmRequest.parse(data).digest
    secret = enrolment.secret(TpmRequest.parse(data), challenge)
    assert secret not in b64url_decode(challenge.claims["seal"])
    assert repr(secret) not in repr(challenge)


def test_two_challenges_have_different_secrets(enrolment: Enrolment) -> None:
    data = enrolment.request()
    request = TpmRequest.parse(data)
    first, second = enrolment.challenge(data), enrolment.challenge(data)
    assert enrolment.secret(request, first) != enrolment.secret(request, second)
    assert first.challenge_id != second.challenge_id


def test_what_parses_writes_back_the_same_bytes(enrolment: Enrolment) -> None:
    data = enrolment.request(later={"unknown": [1]})
    challenge = enrolment.challenge(data)
    response = enrolment.response(data, challenge)
    assert TpmRequest.parse(data).to_bytes() == data
    assert Challenge.parse(challenge.to_bytes()).to_bytes() == challenge.to_bytes()
    assert Response.parse(response).to_bytes() == response


def test_the_answer_is_what_the_specification_says(enrolment: Enrolment, response: dict[str, Any]) -> None:
    """Sections 18.3 to 18.5, written out."""

    def framed(*parts: bytes) -> bytes:
        return b"".join(len(part).to_bytes(8, "big") + part for part in parts)

    def digest(what: bytes, members: dict[str, Any]) -> bytes:
        text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(framed(what, text.encode())).digest()

    said = {name: value for name, value in response["challenge"].items() if name != "seal"}
    request_digest = digest(b"weightlock/1/tpm-request", response["request"])
    assert said["request"] == b64url_encode(request_digest)
    request, challenge = TpmRequest.of(response["request"]), Challenge.of(response["challenge"])
    secret = enrolment.secret(request, challenge)
    message = framed(b"weightlock/1/tpm-response", request_digest, digest(b"weightlock/1/tpm-challenge", said))
    assert b64url_decode(response["answer"]) == hmac.digest(secret, message, "sha256")


def test_whitespace_on_the_way_changes_nothing(enrolment: Enrolment) -> None:
    data = json.dumps(json.loads(enrolment.request()), indent=2).encode()
    challenge = Challenge.parse(json.dumps(json.loads(enrolment.challenge(data).to_bytes()), indent=1).encode())
    response = json.dumps(json.loads(enrolment.response(data, challenge)), indent="\t").encode()
    assert is_response(response)
    assert enrolment.read(response).tier == "tpm"


# Time.


def test_an_answer_counts_until_the_challenge_ends(enrolment: Enrolment, response: dict[str, Any]) -> None:
    data = canonical({"tpm_response": response})
    assert enrolment.read(data, END - timedelta(seconds=1))
    assert refusal_of(enrolment, response, END) == "challenge_expired"
    assert enrolment.read(data, None)  # What was proven in time can be renewed later.


def test_the_end_cannot_be_moved(enrolment: Enrolment, response: dict[str, Any]) -> None:
    """Nor by whoever has the TPM, knows the secret by it, and computes the answer again."""
    challenge = {**response["challenge"], "exp": int(END.timestamp()) + 10**6}
    assert refusal_of(enrolment, {**response, "challenge": challenge}, END) == "response_invalid"
    request, moved = TpmRequest.of(response["request"]), Challenge.of(challenge)
    data = Response(request, moved, answer_of(enrolment.secret(request, moved), request, moved)).to_bytes()
    assert reason(lambda: enrolment.read(data, END)) == "response_invalid"


# What was changed, mixed up or made up.


def test_without_the_secret_there_is_no_answer(enrolment: Enrolment, response: dict[str, Any]) -> None:
    request, challenge = TpmRequest.of(response["request"]), Challenge.of(response["challenge"])
    for secret in (b"", bytes(32), challenge.sealed[:32], challenge.request_digest):
        answer = b64url_encode(answer_of(secret, request, challenge))
        assert refusal_of(enrolment, {**response, "answer": answer}) == "response_invalid"


@pytest.mark.parametrize("bit", [0, 7, 128, 255])
def test_every_bit_of_the_answer_counts(bit: int, enrolment: Enrolment, response: dict[str, Any]) -> None:
    answer = bytearray(b64url_decode(response["answer"]))
    answer[bit // 8] ^= 1 << bit % 8
    assert refusal_of(enrolment, {**response, "answer": b64url_encode(bytes(answer))}) == "response_invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"machine": {"fingerprint": "5c" * 32, "label": "gpu-box-1", "source": "/etc/machine-id"}},
        {"machine": {"fingerprint": MACHINE.fingerprint, "label": "gpu-box-2", "source": MACHINE.source}},
        {"gpus": []},
        {"gpus": [{"uuid": GPU.uuid.replace("0", "1"), "name": GPU.name}]},
        {"iat": 1},
        {"jti": "7b3959d8-24e1-4f26-80c3-57c084d417df"},
        {"later": "not even known"},
    ],
    ids=str,
)
def test_the_answer_is_for_everything_that_the_request_says(
    changes: dict[str, Any], enrolment: Enrolment, response: dict[str, Any]
) -> None:
    """Nor does it help to know the secret: the challenge is for the request that the vendor saw."""
    claims = {**response["request"], **changes}
    assert refusal_of(enrolment, {**response, "request": claims}) == "response_invalid"
    request, challenge = TpmRequest.of(claims), Challenge.of(response["challenge"])
    secret = enrolment.secret(request, challenge)
    answer = b64url_encode(answer_of(secret, request, challenge))
    assert refusal_of(enrolment, {**response, "request": claims, "answer": answer}) == "response_invalid"


def test_another_device_key_cannot_take_the_place_of_the_one_in_the_tpm(
    enrolment: Enrolment, response: dict[str, Any], small_key: rsa.RSAPrivateKey
) -> None:
    stranger = Enrolment(enrolment.maker, enrolment.endorsement_key, small_key, enrolment.vendor)
    claims = {**response["request"], "cnf": stranger.claims()["cnf"], "tpm": stranger.claims()["tpm"]}
    assert refusal_of(enrolment, {**response, "request": claims}) == "response_invalid"
    claims = {**response["request"], "cnf": stranger.claims()["cnf"]}
    assert refusal_of(enrolment, {**response, "request": claims}) == "request_malformed"


def test_challenges_of_another_vendor_or_of_nobody_are_refused(enrolment: Enrolment, response: dict[str, Any]) -> None:
    data = enrolment.request()
    other = Enrolment(enrolment.maker, enrolment.endorsement_key, enrolment.device_key, MasterKey.generate())
    theirs = other.response(data, other.challenge(data))
    assert other.read(theirs)
    assert reason(lambda: enrolment.read(theirs)) == "response_invalid"
    for seal in (bytes(92), b"\x01", bytes(256), b64url_decode(response["challenge"]["seal"])[:-1] + b"\x00"):
        challenge = {**response["challenge"], "seal": b64url_encode(seal)}
        assert refusal_of(enrolment, {**response, "challenge": challenge}) == "response_invalid"


def test_the_seal_of_one_challenge_does_not_fit_another(enrolment: Enrolment, response: dict[str, Any]) -> None:
    """Somebody who has answered once could otherwise answer every other challenge with the same secret."""
    first = Challenge.of(response["challenge"])
    request = TpmRequest.of(response["request"])
    secret = enrolment.secret(request, first)
    second = enrolment.challenge(enrolment.request())
    for changes in ({"seal": first.claims["seal"]}, {"seal": first.claims["seal"], "jti": first.claims["jti"]}):
        mixed = Challenge.of({**second.claims, **changes})
        data = Response(request, mixed, answer_of(secret, request, mixed)).to_bytes()
        assert reason(lambda data=data: enrolment.read(data)) == "response_invalid"  # type: ignore[misc]


@pytest.mark.slow
def test_no_byte_of_the_response_can_be_changed(enrolment: Enrolment, response: dict[str, Any]) -> None:
    data = canonical({"tpm_response": response})
    enrolment.read(data)
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(LicensingError):
            enrolment.read(changed)


# Who is challenged at all.


def test_a_tpm_that_nobody_vouches_for_is_not_challenged(enrolment: Enrolment) -> None:
    poser = Authority.new("Maker")
    posing = Enrolment(poser, enrolment.endorsement_key, enrolment.device_key, enrolment.vendor)
    assert reason(lambda: enrolment.challenge(posing.request())) == "endorsement_untrusted"
    bare = {**enrolment.claims()["tpm"], "certificates": []}
    assert reason(lambda: enrolment.challenge(enrolment.request(tpm=bare))) == "endorsement_missing"


def test_another_tpms_certificate_gets_a_challenge_that_this_tpm_cannot_open(enrolment: Enrolment) -> None:
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    thief = Enrolment(enrolment.maker, own, enrolment.device_key, enrolment.vendor)
    challenge = enrolment.challenge(enrolment.request())
    with pytest.raises(ValueError):
        thief.secret(TpmRequest.parse(enrolment.request()), challenge)


@pytest.mark.parametrize(
    "attributes", ["00020462", "00020470", "00020460", "00020452", "00060472", "00030472", "00020072"]
)
def test_a_device_key_that_could_leave_its_tpm_is_not_challenged(attributes: str, enrolment: Enrolment) -> None:
    """Without fixedTPM, fixedParent or sensitiveDataOrigin; signing, restricted, or behind a lockout."""
    public_area = bytearray(device_key_public_area(enrolment.device_key.public_key()))
    public_area[4:8] = bytes.fromhex(attributes)
    tpm = {**enrolment.claims()["tpm"], "public": b64url_encode(bytes(public_area))}
    assert reason(lambda: enrolment.challenge(enrolment.request(tpm=tpm))) == "request_malformed"


LONG = b64url_encode(bytes(9000))
WRONG: list[dict[str, Any]] = [
    {"ver": 2},
    {"tier": "software"},
    {"cnf": None},
    {"machine": None},
    {"tpm": None},
    {"tpm": {}},
    {"tpm": {"public": "AAAA", "certificates": []}},
    {"tpm": {"public": b64url_encode(bytes(280)), "certificates": []}},
]


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_a_request_that_is_not_as_it_must_be(changes: dict[str, Any], enrolment: Enrolment) -> None:
    assert reason(lambda: TpmRequest.parse(enrolment.request(**changes))) == "request_malformed"


@pytest.mark.parametrize("certificates", [None, "AAAA", [1], [""], ["A=="], [LONG * 2], ["AAAA"] * 9])
def test_certificates_within_bounds(certificates: Any, enrolment: Enrolment) -> None:
    tpm = {"public": enrolment.claims()["tpm"]["public"], "certificates": certificates}
    assert reason(lambda: TpmRequest.parse(enrolment.request(tpm=tpm))) == "request_malformed"


def test_a_software_key_is_no_key_in_a_tpm(enrolment: Enrolment) -> None:
    """Its request is signed, and signing is what a device key in a TPM cannot do."""
    with pytest.raises(RequestMalformedError, match="not a license request of the tier 'tpm'"):
        TpmRequest.parse(canonical({"request": "a.b.c"}))
    long_key = rsa.generate_private_key(public_exponent=65537, key_size=3072).public_key()
    assert reason(lambda: TpmRequest.parse(enrolment.request(cnf={"jwk": to_jwk(long_key)}))) == "request_malformed"


def test_no_license_without_the_exchange(enrolment: Enrolment) -> None:
    data = enrolment.request()
    assert reason(lambda: read_request(data)) == "tpm_proof_required"
    assert reason(lambda: read_request(enrolment.challenge(data).to_bytes())) == "tpm_proof_required"


# The other files.

WRONG_CHALLENGE: dict[str, list[Any]] = {
    "ver": [None, 0, 2, "1"],
    "jti": [None, "", 1, "7b3959d8"],
    "iss": [None, "", "a\n"],
    "iat": [None, -1, "0"],
    "exp": [None, -1, 253402300800],
    "request": [None, "", b64url_encode(bytes(31)), b64url_encode(bytes(33))],
    "identity": [None, "", b64url_encode(bytes(67)), b64url_encode(bytes(69))],
    "seed": [None, "", b64url_encode(bytes(67)), b64url_encode(bytes(257))],
    "seal": [None, "", b64url_encode(bytes(257)), 1],
    "more": [1],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_CHALLENGE.items() for value in values]
)
def test_a_challenge_that_is_not_as_it_must_be(
    name: str, value: Any, enrolment: Enrolment, response: dict[str, Any]
) -> None:
    claims = {each: kept for each, kept in {**response["challenge"], name: value}.items() if kept is not None}
    assert reason(lambda: Challenge.parse(canonical({"tpm_challenge": claims}))) == "challenge_malformed"
    assert refusal_of(enrolment, {**response, "challenge": claims}) == "challenge_malformed"


@pytest.mark.parametrize("changes", [{"ver": 2}, {"answer": ""}, {"answer": b64url_encode(bytes(31))}, {"more": 1}])
def test_a_response_that_is_not_as_it_must_be(
    changes: dict[str, Any], enrolment: Enrolment, response: dict[str, Any]
) -> None:
    assert refusal_of(enrolment, {**response, **changes}) == "challenge_malformed"
    for name in response:
        kept = {each: value for each, value in response.items() if each != name}
        assert refusal_of(enrolment, kept) in ("challenge_malformed", "request_malformed")


def test_files_of_another_kind_and_too_large_ones(enrolment: Enrolment) -> None:
    for data in (b"", b"{}", b"[]", b'{"tpm_challenge":1}', b'{"tpm_challenge":{},"a":1}', b" " * 20_000):
        assert reason(lambda data=data: Challenge.parse(data)) == "challenge_malformed"  # type: ignore[misc]
    for data in (b"", b"{}", b'{"tpm_response":1}', b'{"tpm_response":{},"a":1}', b" " * 400_000):
        assert reason(lambda data=data: Response.parse(data)) == "challenge_malformed"  # type: ignore[misc]
    for data in (b"", b"{}", b'{"tpm_request":1}', b'{"tpm_request":{},"a":1}', b" " * 300_000):
        assert reason(lambda data=data: TpmRequest.parse(data)) == "request_malformed"  # type: ignore[misc]
        assert not is_response(data)
