"""Our licensing agrees with the test vectors, which another implementation of docs/spec/license.md made."""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from licensing import unlock
from licensing.content_key import key_id
from licensing.device_key import SoftwareDeviceKey, device_key_path, open_device_key
from licensing.encoding import framed, framed_sha256
from licensing.errors import LicensingError
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware
from licensing.jwk import algorithm_of, from_jwk, thumbprint, to_jwk
from licensing.key_derivation import derive_kek, hardware_salt, slot_digest, unwrap_grant, wrap_grant
from licensing.license import LicenseFile, read_claims
from licensing.machine import Machine
from licensing.request import read_request
from licensing.strict_json import canonical
from licensing.trust import TrustedKeys

VECTORS = Path(__file__).parents[1] / "vectors"

Vector = dict[str, Any]


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="ascii"))


KEYS, DERIVATIONS, TRUST, REQUEST, LICENSE = map(
    load, ("keys.json", "derivations.json", "trust.json", "request.json", "license.json")
)


def each(vectors: list[Vector]) -> list[Any]:
    return [pytest.param(vector, id=vector["name"].replace(" ", "_")) for vector in vectors]


def file_bytes(vector: Vector) -> bytes:
    data = bytes.fromhex(vector["file_hex"]) if "file_hex" in vector else str(vector["file"]).encode()
    return data.ljust(vector.get("pad_with_spaces_to", 0))


def gpu_of(members: Vector) -> Gpu:
    return Gpu(members["uuid"], members["name"], index=0, parent_uuid=members.get("parent"))


def hardware_of(box: Vector) -> Hardware:
    gpus = tuple(map(gpu_of, box["gpus"]))
    return Hardware(Machine(box["machine_id"], "/etc/machine-id"), GpuReading(gpus, "580", tuple(box["problems"])))


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.utc)


@pytest.mark.slow
def test_the_committed_vectors_are_those_that_the_script_makes() -> None:
    check = subprocess.run(
        [sys.executable, VECTORS / "make_vectors.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")


# Keys and derivations: sections 2 to 4 and 7 to 10.


@pytest.mark.parametrize("vector", [*KEYS["vendors"], {**KEYS["device"], "algorithm": "PS256"}])
def test_jwk_and_thumbprint(vector: Vector) -> None:
    key = from_jwk(vector["jwk"])
    assert to_jwk(key) == vector["jwk"]
    assert canonical(vector["jwk"]).decode() == vector["thumbprint_input"]
    assert thumbprint(key) == vector["thumbprint"]
    assert algorithm_of(key) == vector["algorithm"]


@pytest.mark.parametrize("vector", DERIVATIONS["framed"])
def test_framed(vector: Vector) -> None:
    parts = [bytes.fromhex(part) for part in vector["parts"]]
    assert framed(*parts).hex() == vector["framed"]
    assert framed_sha256(*parts).hex() == vector["sha256"]


@pytest.mark.parametrize("vector", DERIVATIONS["key_ids"])
def test_key_id(vector: Vector) -> None:
    assert key_id(bytes.fromhex(vector["content_key"])) == vector["key_id"]


@pytest.mark.parametrize("vector", DERIVATIONS["machines"])
def test_machine_fingerprint(vector: Vector) -> None:
    assert Machine(vector["machine_id"], "/etc/machine-id").fingerprint == vector["fingerprint"]


@pytest.mark.parametrize("vector", DERIVATIONS["gpus"])
def test_gpu_identity(vector: Vector) -> None:
    assert gpu_of(vector).identity == vector["identity"]


@pytest.mark.parametrize("vector", DERIVATIONS["slot_digests"])
def test_slot_digest(vector: Vector) -> None:
    digest = slot_digest(bytes.fromhex(vector["salt"]), vector["kind"], vector["identity"])
    assert digest.hex() == vector["digest"]


@pytest.mark.parametrize("vector", DERIVATIONS["hardware_salts"])
def test_hardware_salt(vector: Vector) -> None:
    salt = hardware_salt(vector["machine_fingerprint"], vector["gpu_identity"])
    assert salt.hex() == vector["hardware_salt"]


@pytest.mark.parametrize("vector", DERIVATIONS["grants"])
def test_key_encryption_key_and_grant(vector: Vector) -> None:
    secret, salt = bytes.fromhex(vector["secret"]), bytes.fromhex(vector["hardware_salt"])
    ids = vector["model_id"], vector["key_id"], vector["slot_id"]
    content_key, grant = bytes.fromhex(vector["content_key"]), bytes.fromhex(vector["grant"])
    kek = derive_kek(secret, salt, vector["license"], *ids)
    assert kek.hex() == vector["kek"]
    assert wrap_grant(kek, content_key) == grant
    assert unwrap_grant(kek, grant, vector["key_id"]) == content_key


def test_oaep() -> None:
    vector = DERIVATIONS["oaep"]
    private_key = load_pem_private_key(KEYS["device"]["pkcs8_pem"].encode(), None)
    assert isinstance(private_key, RSAPrivateKey)
    message = SoftwareDeviceKey(private_key).unwrap_secret(bytes.fromhex(vector["ciphertext"]))
    assert message.hex() == vector["message"]


def write_device_key(home: Path, kind: str = "of this machine") -> None:
    names = {"of this machine": "encrypted_pkcs8_pem", "not encrypted": "pkcs8_pem"}
    if kind in names:
        device_key_path(home).write_text(KEYS["device"][names[kind]])


def test_device_key_file(tmp_path: Path) -> None:
    write_device_key(tmp_path)
    machine = Machine(KEYS["device"]["machine_id"], "/etc/machine-id")
    device_key = open_device_key(tmp_path, machine, for_signing=True)
    assert device_key.thumbprint == KEYS["device"]["thumbprint"]


# Trust files and requests: sections 6 and 11.


@pytest.mark.parametrize("vector", each(TRUST["good"]))
def test_trust_file(vector: Vector) -> None:
    trusted = TrustedKeys.parse(file_bytes(vector))
    assert list(trusted.keys) == vector["thumbprints"]
    assert TrustedKeys.parse(trusted.to_bytes()) == trusted


@pytest.mark.parametrize("vector", each(TRUST["bad"]))
def test_bad_trust_file(vector: Vector) -> None:
    with pytest.raises(LicensingError) as caught:
        TrustedKeys.parse(file_bytes(vector))
    assert caught.value.reason == vector["reason"]


@pytest.mark.parametrize("vector", each(REQUEST["good"]))
def test_request(vector: Vector) -> None:
    request, claims = read_request(file_bytes(vector)), vector["claims"]
    assert request.request_id == claims["jti"]
    assert request.created == moment(claims["iat"])
    assert request.tier == claims["tier"]
    assert to_jwk(request.public_key) == claims["cnf"]["jwk"]
    assert request.thumbprint == KEYS["device"]["thumbprint"]
    machine = claims["machine"]
    assert request.machine_fingerprint == machine["fingerprint"]
    assert (request.machine_label, request.machine_source) == (machine["label"], machine["source"])
    assert request.gpus == tuple(map(gpu_of, claims["gpus"]))
    assert (request.driver_version, request.generator) == (claims.get("driver"), claims["generator"])
    history = {name: value for name, value in claims.get("history", {}).items() if name != "later"}
    assert (request.history.claims() if request.history else {}) == history


@pytest.mark.parametrize("vector", each(REQUEST["bad"]))
def test_bad_request(vector: Vector) -> None:
    with pytest.raises(LicensingError) as caught:
        read_request(file_bytes(vector))
    assert caught.value.reason == vector["reason"]


# Licenses and unlocking: sections 12, 13 and 15.


@dataclass(frozen=True)
class Box:
    """A customer's home with a trust file, a license and, mostly, a device key."""

    home: Path

    @property
    def license(self) -> Path:
        return self.home / "acme.lic"

    @property
    def trust(self) -> Path:
        return self.home / "trust.jwks"


def make_box(home: Path, vector: Vector) -> Box:
    box = Box(home)
    box.license.write_bytes(file_bytes(vector))
    box.trust.write_text(LICENSE["trust"])
    write_device_key(home, vector.get("device_key", "of this machine"))
    return box


@pytest.mark.parametrize("vector", each(LICENSE["good"]))
def test_every_step_of_unlocking(tmp_path: Path, vector: Vector) -> None:
    box, hardware = make_box(tmp_path, vector), hardware_of(vector["hardware"])
    file = unlock.step_1_read_file(box.license)
    unlock.step_3_verify_signature(file, unlock.step_2_find_vendor_key(file, box.trust))
    claims = unlock.step_4_read_claims(file)
    unlock.step_5_check_validity(claims, moment(vector["now"]))
    matched = unlock.step_7_find_slot(claims, hardware)
    assert matched.slot.slot_id == vector["slot"]
    device_key = unlock.step_8_open_device_key(claims, box.home, hardware)
    secret = unlock.step_9_unwrap_secret(claims, device_key)
    assert secret.hex() == vector["secret"]
    salt = hardware_salt(hardware.machine.fingerprint, matched.gpu.identity if matched.gpu else "")
    assert salt.hex() == vector["hardware_salt"]
    for licensed in vector["models"]:
        model = unlock.step_6_find_model(claims, licensed["model_id"], licensed["key_id"])
        kek = derive_kek(secret, salt, file.signed.text, model.model_id, model.key_id, matched.slot.slot_id)
        assert kek.hex() == licensed["kek"]
        content_key = unlock.step_10_unwrap_content_key(file, model, matched, hardware, secret)
        assert content_key.hex() == licensed["content_key"]


@pytest.mark.parametrize("vector", each(LICENSE["good"]))
def test_a_license_file_is_written_back_as_the_same_values(vector: Vector) -> None:
    file = LicenseFile.parse(file_bytes(vector))
    again = LicenseFile.parse(file.to_bytes())
    assert again == file
    assert json.loads(file.to_bytes()) == json.loads(vector["file"])
    assert read_claims(again) == read_claims(file)


@pytest.mark.parametrize("end", ["nbf", "exp"])
def test_a_license_holds_from_its_first_second_to_its_last(tmp_path: Path, end: str) -> None:
    vector = LICENSE["good"][1]
    claims = read_claims(LicenseFile.parse(file_bytes(vector)))
    now = {"nbf": claims.not_before, "exp": moment(int(claims.expires.timestamp()) - 1)}[end]
    [model] = vector["models"]
    box, hardware = make_box(tmp_path, vector), hardware_of(vector["hardware"])
    unlocked = unlock.unlock(
        box.license, model["model_id"], model["key_id"], trust=box.trust, home=box.home, hardware=hardware, now=now
    )
    assert unlocked.content_key.hex() == model["content_key"]


@pytest.mark.parametrize("vector", each(LICENSE["bad"]))
def test_bad_license(tmp_path: Path, vector: Vector) -> None:
    vector = {**LICENSE["context_of_bad"], **vector}
    box, hardware = make_box(tmp_path, vector), hardware_of(vector["hardware"])
    with pytest.raises(LicensingError) as caught:
        unlock.unlock(
            box.license,
            vector["model_id"],
            vector["key_id"],
            trust=box.trust,
            home=box.home,
            hardware=hardware,
            now=moment(vector["now"]),
        )
    assert caught.value.reason == vector["reason"]
    assert refusing_step(caught.value) == vector["step"]


def refusing_step(error: LicensingError) -> int:
    """Returns the number of the step function from which an error came."""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_name
        if name.startswith("step_"):
            return int(name.split("_")[1])
        trace = trace.tb_next
    raise AssertionError("the error came from no step")
