"""Other people's programs read what our licensing writes: joserfc verifies, and OpenSSL alone reaches the content key.

Nothing of the way from the license to the content key here goes through our code: the steps are those of
docs/spec/license.md, sections 8, 9 and 15, done with hashlib and the `openssl` command.
"""

import base64
import hashlib
import hmac
import json
import os
import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from licensing.content_key import key_id, new_content_key
from licensing.device_key import create_device_key, device_key_path
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware
from licensing.issue import ModelKey, Terms, issue_license
from licensing.jwk import algorithm_of
from licensing.jws import PrivateKey
from licensing.license import LicenseFile
from licensing.machine import Machine
from licensing.request import make_request, read_request
from licensing.trust import TrustedKeys
from tests.components import need

joserfc_jwk = pytest.importorskip("joserfc.jwk")
joserfc_jws = pytest.importorskip("joserfc.jws")
joserfc_errors = pytest.importorskip("joserfc.errors")

NOW = datetime(2026, 12, 1, tzinfo=timezone.utc)
MACHINE = Machine("9d2f41c86b0e4a5f8c3b7e10d4a69f25", "/etc/machine-id")
GPUS = (
    Gpu("GPU-0b6a6c3e-58a0-4d23-9b42-6f1f7f5d8a11", "NVIDIA H200", 0),
    Gpu("GPU-5e2d8b4f-1c37-4a96-8f60-2b9d3c7a4e55", "NVIDIA H200", 1),
)


@dataclass(frozen=True)
class Issued:
    """A license as a vendor issued it, and the home of the customer for whom it is."""

    home: Path
    request: dict[str, Any]
    trust: dict[str, Any]
    file: dict[str, Any]
    content_key: bytes
    model_id: str
    key_id: str


def issue(home: Path, signing_key: PrivateKey) -> Issued:
    device_key = create_device_key(home, MACHINE)
    hardware = Hardware(MACHINE, GpuReading(GPUS, "580.159.04"))
    request = make_request(device_key, hardware, GPUS, NOW)
    content_key = new_content_key()
    model = ModelKey("3f1c9a52-7d48-4e0b-b6a1-9c5e2f8d7041", key_id(content_key), "minilm", content_key)
    terms = Terms("Vendor", "ACME", NOW + timedelta(days=30))
    issued = issue_license(read_request(request), [model], terms, signing_key, NOW)
    public_key = signing_key.public_key()
    trust = TrustedKeys({LicenseFile.parse(issued.data).signed.kid: public_key}).to_bytes()
    files = map(json.loads, (request, trust, issued.data))
    return Issued(home, next(files), next(files), next(files), content_key, model.model_id, model.key_id)


SIGNING_KEYS: list[Any] = [
    pytest.param(lambda: Ed25519PrivateKey.generate(), id="EdDSA"),
    pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), id="ES256"),
    pytest.param(lambda: rsa.generate_private_key(65537, 3072), id="PS256"),
]


@pytest.fixture(name="issued")
def _issued(tmp_path: Path) -> Issued:
    return issue(tmp_path, Ed25519PrivateKey.generate())


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def claims_of(text: str) -> Any:
    return json.loads(decode(text.split(".")[1]))


# joserfc: another implementation of JOSE.


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # RFC 9864 has a newer name for it; section 5 keeps the old.
@pytest.mark.parametrize("new_key", SIGNING_KEYS)
def test_joserfc_verifies_a_license_with_the_trust_file(tmp_path: Path, new_key: Any) -> None:
    signing_key = new_key()
    issued = issue(tmp_path, signing_key)
    text = issued.file["license"]
    keys = joserfc_jwk.KeySet.import_key_set(issued.trust)
    algorithm = algorithm_of(signing_key.public_key())
    verified = joserfc_jws.deserialize_compact(text, keys, algorithms=[algorithm])
    assert verified.headers() == {"alg": algorithm, "kid": keys.keys[0].thumbprint(), "typ": "weightlock-license+jwt"}
    assert json.loads(verified.payload) == claims_of(text)

    header, payload, signature = text.split(".")
    changed = header + "." + ("A" if payload[0] != "A" else "B") + payload[1:] + "." + signature
    with pytest.raises(joserfc_errors.BadSignatureError):
        joserfc_jws.deserialize_compact(changed, keys, algorithms=[algorithm])


def test_joserfc_verifies_a_request_with_the_key_in_it(issued: Issued) -> None:
    text = issued.request["request"]
    key = joserfc_jwk.RSAKey.import_key(claims_of(text)["cnf"]["jwk"])
    verified = joserfc_jws.deserialize_compact(text, key, algorithms=["PS256"])
    assert verified.headers()["kid"] == key.thumbprint()
    assert claims_of(issued.file["license"])["cnf"] == {"jkt": key.thumbprint()}


# OpenSSL: from the license file to the content key without our code.


def openssl(*arguments: str, data: bytes = b"", **environment: str) -> bytes:
    need("openssl")
    process = subprocess.run(
        ["openssl", *arguments], input=data, capture_output=True, check=True, env={**os.environ, **environment}
    )
    return process.stdout


def framed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def machine_hmac(purpose: str) -> bytes:
    return hmac.digest(MACHINE.machine_id.encode(), f"weightlock/1/machine/{purpose}".encode(), "sha256")


def unwrap_secret(issued: Issued) -> bytes:
    """Decrypts the license secret with `openssl pkeyutl` and the encrypted device key file as it is."""
    password = base64.urlsafe_b64encode(machine_hmac("device-key")).decode().rstrip("=")
    options = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256")
    return openssl(
        *("pkeyutl", "-decrypt", "-inkey", str(device_key_path(issued.home)), "-passin", "env:DEVICE_KEY_PASSWORD"),
        *(argument for option in options for argument in ("-pkeyopt", option)),
        data=decode(claims_of(issued.file["license"])["secret"]),
        DEVICE_KEY_PASSWORD=password,
    )


def derive_kek(issued: Issued, secret: bytes, gpu: Gpu, slot_id: str) -> bytes:
    """Derives the key-encryption key with `openssl kdf`. Its arguments show in the process list: for tests only."""
    fingerprint = machine_hmac("fingerprint").hex()
    salt = hashlib.sha256(framed(b"weightlock/1/hardware", fingerprint.encode(), gpu.uuid.encode())).digest()
    text_digest = hashlib.sha256(issued.file["license"].encode()).digest()
    ids = (issued.model_id.encode(), issued.key_id.encode(), slot_id.encode())
    info = framed(b"weightlock/1/kek", text_digest, *ids)
    options = ("digest:SHA256", f"hexkey:{secret.hex()}", f"hexsalt:{salt.hex()}", f"hexinfo:{info.hex()}")
    arguments = (argument for option in options for argument in ("-kdfopt", option))
    return openssl("kdf", "-keylen", "32", "-binary", *arguments, "HKDF")


def unwrap_grant(kek: bytes, grant: bytes) -> bytes:
    """Unwraps with AES-KW; `-iv` is the default initial value of RFC 3394."""
    return openssl("enc", "-d", "-id-aes256-wrap", "-K", kek.hex(), "-iv", "A6" * 8, data=grant)


@pytest.mark.parametrize("number", [1, 2])
def test_openssl_reaches_the_content_key(issued: Issued, number: int) -> None:
    secret = unwrap_secret(issued)
    assert len(secret) == 32
    kek = derive_kek(issued, secret, GPUS[number - 1], f"slot-{number}")
    [grant] = [grant["key"] for grant in issued.file["grants"] if grant["slot"] == f"slot-{number}"]
    assert unwrap_grant(kek, decode(grant)) == issued.content_key


def test_openssl_does_not_reach_it_with_the_other_gpu(issued: Issued) -> None:
    kek = derive_kek(issued, unwrap_secret(issued), GPUS[1], "slot-1")
    [grant] = [grant["key"] for grant in issued.file["grants"] if grant["slot"] == "slot-1"]
    with pytest.raises(subprocess.CalledProcessError):
        unwrap_grant(kek, decode(grant))


def test_openssl_finds_the_slot_by_its_digests(issued: Issued) -> None:
    claims = claims_of(issued.file["license"])
    fingerprint = machine_hmac("fingerprint").hex().encode()
    for slot, gpu in zip(claims["slots"], GPUS, strict=True):
        parts = {"machine": fingerprint, "gpu": gpu.uuid.encode()}
        for kind, identity in parts.items():
            hashed = framed(b"weightlock/1/slot", decode(claims["salt"]), kind.encode(), identity)
            assert openssl("dgst", "-sha256", "-binary", data=hashed) == decode(slot[kind]["digest"])
