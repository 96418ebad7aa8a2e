"""License requests: what a box says of itself, and what the vendor believes of it."""

import json
import platform
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from licensing.errors import LicensingError, RequestMalformedError, SignatureInvalidError
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware
from licensing.jwk import thumbprint, to_jwk
from licensing.request import MAX_GPUS, REQUEST_TYPE, make_request, read_request
from tests.lock_scene import GPU, MACHINE, NOW, OTHER_GPU, Scene
from tests.raw_jws import b64, from_b64, header_of, raw_jws

MIG = Gpu("MIG-9c1a5b1e-2d34-5f67-8a90-b1c2d3e4f506", "NVIDIA H200 MIG 1g.18gb", 0, parent_uuid=GPU.uuid)
OLD_MIG = Gpu(f"MIG-{GPU.uuid}/7/0", "NVIDIA A100 MIG 1g.5gb", 0, parent_uuid=GPU.uuid)


def claims_of(request: bytes) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(from_b64(json.loads(request)["request"].split(".")[1]))
    return claims


@pytest.fixture(scope="module")
def claims(lock_scene: Scene) -> dict[str, Any]:
    return claims_of(lock_scene.box.request())


def signed(scene: Scene, claims: dict[str, Any]) -> bytes:
    """Returns a request with these claims, signed by the box's device key; None takes a claim away."""
    present = {name: value for name, value in claims.items() if value is not None}
    return json.dumps({"request": scene.box.device_key.sign(present, REQUEST_TYPE)}).encode()


def refused(data: bytes) -> LicensingError:
    with pytest.raises(LicensingError) as refusal:
        read_request(data)
    return refusal.value


# What a request says.


def test_the_vendor_reads_what_the_box_measured(lock_scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "gpu-box-1")
    hardware = Hardware(MACHINE, GpuReading((GPU, OTHER_GPU, MIG, OLD_MIG), "580.159.04"))
    key = lock_scene.box.device_key
    moment = datetime(2026, 7, 1, 14, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    request = read_request(make_request(key, hardware, hardware.gpus.gpus, moment))
    assert request.created == NOW
    assert (request.tier, request.thumbprint, request.public_key) == ("software", key.thumbprint, key.public_key)
    assert request.machine_fingerprint == MACHINE.fingerprint
    assert (request.machine_label, request.machine_source) == ("gpu-box-1", "/etc/machine-id")
    assert [gpu.identity for gpu in request.gpus] == [gpu.identity for gpu in hardware.gpus.gpus]
    assert [gpu.name for gpu in request.gpus] == [gpu.name for gpu in hardware.gpus.gpus]
    assert request.driver_version == "580.159.04"


def test_the_vendor_reads_which_gpus_are_virtual(lock_scene: Scene) -> None:
    virtual = replace(GPU, is_virtual=True)
    request = read_request(lock_scene.box.request(virtual, OTHER_GPU))
    assert [gpu.is_virtual for gpu in request.gpus] == [True, False]


def test_a_request_names_the_chosen_gpus_alone_or_none(lock_scene: Scene) -> None:
    hardware = Hardware(MACHINE, GpuReading((GPU, OTHER_GPU)))
    for chosen in ([], [OTHER_GPU], [OTHER_GPU, GPU]):
        request = read_request(make_request(lock_scene.box.device_key, hardware, chosen, NOW))
        assert [gpu.uuid for gpu in request.gpus] == [gpu.uuid for gpu in chosen]
        assert request.driver_version is None


def test_two_requests_of_a_box_have_different_ids(lock_scene: Scene) -> None:
    first, second = (read_request(lock_scene.box.request()) for _ in range(2))
    assert first.request_id != second.request_id
    assert replace(first, request_id="", public_key=second.public_key) == replace(second, request_id="")


def test_the_raw_machine_id_and_the_private_key_stay_on_the_box(lock_scene: Scene) -> None:
    text = json.dumps(claims_of(lock_scene.box.request()))
    assert MACHINE.machine_id not in text
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(json.loads(text)["cnf"]["jwk"])
    numbers = lock_scene.box.device_key._private_key.private_numbers()
    for number in (numbers.d, numbers.p, numbers.q):
        assert b64(number.to_bytes((number.bit_length() + 7) // 8, "big")) not in text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA\tH200\n", "NVIDIA�H200�"),
        ("", "NVIDIA GPU"),
        ("H" * 300, "H" * 200),
        ("H\u202e002", "H�002"),
        ("Ж", "Ж"),
    ],
)
def test_names_that_a_license_could_not_show_are_made_printable(name: str, expected: str, lock_scene: Scene) -> None:
    request = make_request(lock_scene.box.device_key, lock_scene.box.hardware, [replace(GPU, name=name)], NOW)
    assert [gpu.name for gpu in read_request(request).gpus] == [expected]


@pytest.mark.parametrize(("node", "expected"), [("", "unnamed machine"), ("a\x00b", "a�b"), ("b" * 300, "b" * 200)])
def test_a_machine_has_a_printable_label(
    node: str, expected: str, lock_scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "node", lambda: node)
    assert read_request(lock_scene.box.request()).machine_label == expected


# What the vendor refuses.

UUID = "7b3959d8-24e1-4f26-80c3-57c084d417de"
WRONG_CLAIMS: dict[str, list[Any]] = {
    "ver": [None, 0, 2, "1", True],
    "jti": [None, "", UUID.upper(), UUID[:-1], UUID + "0", UUID.replace("-", ""), 1],
    "iat": [None, -1, 253402300800, "0", True],
    "tier": [None, "tpm", "Software", ["software"]],
    "cnf": [None, {}, [], {"jwk": None}, {"jwk": []}, {"jkt": "A" * 43}],
    "machine": [None, {}, "gpu-box-1"],
    "gpus": [None, {}, "GPU", [1], [{}], [[]]],
    "driver": ["", 580, "5" * 201, "5\n8"],
    "generator": [None, "", 1, "x" * 201, "x\x00"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_CLAIMS.items() for value in values]
)
def test_a_claim_that_is_missing_or_wrong(name: str, value: Any, claims: dict[str, Any], lock_scene: Scene) -> None:
    read_request(signed(lock_scene, claims))
    assert refused(signed(lock_scene, {**claims, name: value})).reason == "request_malformed"


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": None},
        {"fingerprint": "5C" * 32},
        {"fingerprint": "5c" * 31},
        {"fingerprint": "5c" * 33},
        {"fingerprint": MACHINE.machine_id},
        {"label": None},
        {"label": ""},
        {"label": "a\tb"},
        {"label": "a" * 201},
        {"source": None},
        {"source": 1},
    ],
    ids=str,
)
def test_a_machine_that_is_not_as_it_must_be(change: dict[str, Any], claims: dict[str, Any], lock_scene: Scene) -> None:
    machine = {name: value for name, value in {**claims["machine"], **change}.items() if value is not None}
    assert refused(signed(lock_scene, {**claims, "machine": machine})).reason == "request_malformed"


@pytest.mark.parametrize(
    "gpu",
    [
        {"uuid": GPU.uuid},
        {"name": "NVIDIA H200"},
        {"uuid": GPU.uuid.lower().replace("gpu", "Gpu"), "name": "NVIDIA H200"},
        {"uuid": GPU.uuid.upper(), "name": "NVIDIA H200"},
        {"uuid": f"{GPU.uuid}\n", "name": "NVIDIA H200"},
        {"uuid": MIG.uuid, "name": "MIG without its GPU"},
        {"uuid": OTHER_GPU.uuid, "name": "GPU of a GPU", "parent": GPU.uuid},
        {"uuid": MIG.uuid, "name": "MIG of a MIG", "parent": MIG.uuid},
        {"uuid": MIG.uuid, "name": "MIG", "parent": ""},
        {"uuid": MIG.uuid, "name": "MIG", "parent": None},
        {"uuid": f"MIG-{GPU.uuid}/7/1000", "name": "MIG", "parent": GPU.uuid},
        {"uuid": "CPU-0", "name": "no GPU"},
        {"uuid": GPU.uuid, "name": "NVIDIA H200", "virtual": 1},
    ],
    ids=str,
)
def test_a_gpu_that_is_none(gpu: dict[str, Any], claims: dict[str, Any], lock_scene: Scene) -> None:
    assert refused(signed(lock_scene, {**claims, "gpus": [gpu]})).reason == "request_malformed"


def test_a_gpu_twice_and_too_many_gpus(claims: dict[str, Any], lock_scene: Scene) -> None:
    gpus = [{"uuid": f"GPU-{number:08x}-0000-4000-8000-000000000000", "name": "H200"} for number in range(MAX_GPUS + 1)]
    assert len(read_request(signed(lock_scene, {**claims, "gpus": gpus[:MAX_GPUS]})).gpus) == MAX_GPUS
    assert refused(signed(lock_scene, {**claims, "gpus": gpus})).reason == "request_malformed"
    assert refused(signed(lock_scene, {**claims, "gpus": [gpus[0], gpus[1], gpus[0]]})).reason == "request_malformed"
    same_place_elsewhere = [{"uuid": MIG.uuid, "name": "MIG", "parent": parent.uuid} for parent in (GPU, OTHER_GPU)]
    assert len(read_request(signed(lock_scene, {**claims, "gpus": same_place_elsewhere})).gpus) == 2


def test_unknown_claims_are_ignored_and_unknown_members_of_the_file_are_not(
    claims: dict[str, Any], lock_scene: Scene
) -> None:
    data = signed(lock_scene, {**claims, "z": {"later": True}})
    read_request(data)
    for change in ({"comment": "hello"}, {"license": "a.b.c"}):
        assert refused(json.dumps({**json.loads(data), **change}).encode()).reason == "request_malformed"
    wrong: Any
    for wrong in ([], 1, "", "a.b", None):
        assert refused(json.dumps({"request": wrong}).encode()).reason == "request_malformed"


# Who signed.


def test_only_the_key_that_the_request_carries_may_sign_it(claims: dict[str, Any], lock_scene: Scene) -> None:
    stranger, key = lock_scene.stranger.device_key._private_key, lock_scene.box.device_key._private_key
    payload = from_b64(json.loads(lock_scene.box.request())["request"].split(".")[1])
    for header in (header_of(stranger, REQUEST_TYPE), header_of(key, REQUEST_TYPE)):
        error = refused(json.dumps({"request": raw_jws(header, payload, stranger)}).encode())
        assert isinstance(error, SignatureInvalidError)
        assert error.reason == "signature_invalid"
    with_strangers_kid = raw_jws(header_of(stranger, REQUEST_TYPE), payload, key)
    error = refused(json.dumps({"request": with_strangers_kid}).encode())
    assert isinstance(error, RequestMalformedError)
    assert "another key than the one it carries" in error.message


def test_a_device_key_is_an_rsa_key_within_bounds(
    claims: dict[str, Any], lock_scene: Scene, small_key: rsa.RSAPrivateKey
) -> None:
    """Each of these requests is signed by the key that it carries, so that the key alone is the reason."""

    def request(key: Any, **members: Any) -> bytes:
        body = {**claims, "cnf": {"jwk": {**to_jwk(key.public_key()), **members}}}
        payload = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        return json.dumps({"request": raw_jws(header_of(key, REQUEST_TYPE), payload, key)}).encode()

    assert read_request(request(small_key)).thumbprint == thumbprint(small_key.public_key())
    short, elliptic = (
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
        ec.generate_private_key(ec.SECP256R1()),
    )
    for data in (
        request(short),
        request(elliptic),
        request(lock_scene.signing_key),
        request(rsa.generate_private_key(public_exponent=3, key_size=2048)),
        request(small_key, d="AQAB"),
        request(small_key, n=b64(bytes([0x80]) + bytes(60_000) + b"\x01")),
    ):
        assert refused(data).reason == "request_malformed"


def test_an_even_modulus_gives_a_refusal_and_no_error_of_the_library(claims: dict[str, Any], lock_scene: Scene) -> None:
    """Whoever sends a request chooses the modulus, and OpenSSL's arithmetic does not work with such a one."""
    modulus = lock_scene.box.device_key.public_key.public_numbers().n
    for number in (modulus - 1, modulus + 1, 2**3071, 2**3072 - 2):
        jwk = {"kty": "RSA", "n": b64(number.to_bytes(384, "big")), "e": "AQAB"}
        assert refused(signed(lock_scene, {**claims, "cnf": {"jwk": jwk}})).reason == "signature_invalid"
