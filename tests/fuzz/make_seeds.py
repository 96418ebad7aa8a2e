"""Makes the seeds of all fuzz targets: small inputs that the parsers accept, or nearly accept.

    python -m tests.fuzz.make_seeds

They come from the test vectors and from fixed values, so that the same files come out each time.
"""

import base64
import hashlib
import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from licensing.clock_reset import RESET_TYPE
from licensing.encoding import b64url_encode
from licensing.jwk import to_jwk
from licensing.start_history import SeenStart, StartHistory
from licensing.strict_json import canonical
from licensing.surroundings import Start
from licensing.time_state import TimeState, TpmRecord
from licensing.tpm_device_key import TpmKeyFile
from licensing.tpm_structures import device_key_public_area
from tests.fuzz.material import CONTENT_KEY, STATE_KEY, tpm_public_key, vector, vendor_key
from tests.fuzz.target import HERE
from tests.raw_jws import from_b64, header_of, raw_jws

__all__ = ["make_seeds", "seeds"]

MAX_SEED_BYTES = 2600
ISSUED = 1782900000

_PADDLE_PICKLES = (
    "gAJ9cQAoWAYAAAB3ZWlnaHRxAWNudW1weS5fY29yZS5tdWx0aWFycmF5Cl9yZWNvbnN0cnVjdApxAmNudW1weQpuZGFycmF5CnEDSwCFcQRj"
    "X2NvZGVjcwplbmNvZGUKcQVYAQAAAGJxBlgGAAAAbGF0aW4xcQeGcQhScQmHcQpScQsoSwFLAksChnEMY251bXB5CmR0eXBlCnENWAIAAABm"
    "NHEOiYiHcQ9ScRAoSwNYAQAAADxxEU5OTkr/////Sv////9LAHRxEmKJaAVYEQAAAAAAAAAAAMKAPwAAAEAAAEBAcRNoB4ZxFFJxFXRxFmJY"
    "BAAAAG5hbWVxF1gBAAAAYXEYY251bXB5Ll9jb3JlLm11bHRpYXJyYXkKc2NhbGFyCnEZaBBoBVgFAAAAAADCgD9xGmgHhnEbUnEchnEdUnEe"
    "hnEfdS4=",
    "gASVzwAAAAAAAAB9lCiMBndlaWdodJSMFm51bXB5Ll9jb3JlLm11bHRpYXJyYXmUjAxfcmVjb25zdHJ1Y3SUk5SMBW51bXB5lIwHbmRhcnJh"
    "eZSTlEsAhZRDAWKUh5RSlChLAUsCSwKGlGgFjAVkdHlwZZSTlIwCZjSUiYiHlFKUKEsDjAE8lE5OTkr/////Sv////9LAHSUYolDEAAAAAAA"
    "AIA/AAAAQAAAQECUdJRijARuYW1llIwBYZRoAowGc2NhbGFylJOUaBFDBAAAgD+UhpRSlIaUdS4=",
)
"""What `pickle` makes of a state dict with a small array, by protocols 2 and 4: here, so that NumPy is not needed."""


def seeds() -> dict[str, list[bytes]]:
    """Returns the seeds of each target."""
    return {name: list(dict.fromkeys(each)) for name, each in _all() if each}


def make_seeds(folder: Path) -> None:
    """Writes the seeds, each under its digest, and removes what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, each in seeds().items():
        (folder / name).mkdir(parents=True)
        for data in each:
            (folder / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def _all() -> Iterator[tuple[str, list[bytes]]]:
    licenses = _files("license", "license")
    yield "license-file", licenses
    yield "license-claims", [_payload(data, "license") for data in licenses]
    requests = _files("request", "request")
    yield "request-file", requests
    yield "request-claims", [_payload(data, "request") for data in requests]
    yield "trust-file", _files("trust", "keys")
    claims = canonical(_reset_claims())
    yield "clock-reset-claims", [claims]
    text = raw_jws(header_of(vendor_key(), RESET_TYPE), claims, vendor_key())
    yield "clock-reset-file", [canonical({"clock_reset": text})]
    encoded = vector("container")["fernet"]["content_key"].encode()
    yield "content-key", [CONTENT_KEY, encoded, encoded + b"\r\n", b""]
    yield from _of_the_box()
    yield from _of_containers()
    yield from _of_models()


def _files(kind: str, member: str) -> list[bytes]:
    """Returns the good files among the vectors, and some of the bad ones that are almost good."""
    found = [_bytes(each) for each in vector(kind)["good"]]
    found += [_bytes(each) for each in vector(kind)["bad"]][::6]
    return [data for data in found if len(data) <= MAX_SEED_BYTES and f'"{member}"'.encode() in data]


def _bytes(each: dict[str, Any]) -> bytes:
    return each["file"].encode() if "file" in each else bytes.fromhex(each["file_hex"])


def _payload(data: bytes, member: str) -> bytes:
    try:
        return from_b64(json.loads(data)[member].split(".")[1])
    except (ValueError, IndexError, AttributeError, TypeError, KeyError):
        return data


def _reset_claims() -> dict[str, Any]:
    return {
        "ver": 1,
        "iss": "Example Vision",
        "jti": "0f5a7c52-29a1-4d3b-9b7e-0d5c3f9a1b2c",
        "iat": ISSUED,
        "exp": ISSUED + 604800,
        "cnf": {"jkt": STATE_KEY.device},
        "generator": "weightlock 0",
    }


def _of_the_box() -> Iterator[tuple[str, list[bytes]]]:
    ids = tuple(f"0f5a7c52-29a1-4d3b-9b7e-0d5c3f9a1b2{digit}" for digit in "abc")
    states = [
        TimeState(STATE_KEY.device, ISSUED, ISSUED + 86400),
        TimeState(
            STATE_KEY.device, 0, ISSUED, ISSUED + 10**6, ids, (STATE_KEY.device,), TpmRecord(ISSUED, 10**9, 3, 4)
        ),
    ]
    yield "time-state-file", [state.to_bytes(STATE_KEY) for state in states]
    yield "time-state", [canonical(state._members()) for state in states]
    starts = [
        Start(ids[0], "1" * 64, None),
        Start(ids[1], "2" * 64, "3" * 64),
    ]
    gpus = tuple(f"GPU-{each}" for each in ids)
    seen = [SeenStart(ISSUED + number, start, "4" * 64, "/etc/machine-id", gpus) for number, start in enumerate(starts)]
    histories = [StartHistory(STATE_KEY.device, tuple(seen[:number])) for number in (1, 2)]
    yield "start-history-file", [history.to_bytes(STATE_KEY.key) for history in histories]
    yield "start-history", [canonical(json.loads(history.to_bytes(STATE_KEY.key))["history"]) for history in histories]
    public_area = device_key_public_area(tpm_public_key())
    key = TpmKeyFile("device:/dev/tpmrm0", public_area, bytes(range(222)), bytes(256))
    yield "tpm-device-key", [key.to_bytes()]
    request, challenge = _tpm_request(public_area), _tpm_challenge()
    yield "tpm-request", [canonical({"tpm_request": request})]
    yield "tpm-challenge", [canonical({"tpm_challenge": challenge})]
    response = {"ver": 1, "request": request, "challenge": challenge, "answer": b64url_encode(bytes(32))}
    yield "tpm-response", [canonical({"tpm_response": response})]
    yield "endorsement-certificate", _certificates()


def _tpm_request(public_area: bytes) -> dict[str, Any]:
    return {
        "ver": 1,
        "jti": "0f5a7c52-29a1-4d3b-9b7e-0d5c3f9a1b2c",
        "iat": ISSUED,
        "tier": "tpm",
        "cnf": {"jwk": to_jwk(tpm_public_key())},
        "machine": {"fingerprint": "5e" * 32, "label": "box", "source": "/etc/machine-id"},
        "gpus": [{"uuid": "GPU-0f5a7c52-29a1-4d3b-9b7e-0d5c3f9a1b2c", "name": "NVIDIA H200"}],
        "generator": "weightlock 0",
        "tpm": {"public": b64url_encode(public_area), "certificates": [b64url_encode(bytes(range(100)))]},
    }


def _tpm_challenge() -> dict[str, Any]:
    return {
        "ver": 1,
        "jti": "0f5a7c52-29a1-4d3b-9b7e-0d5c3f9a1b2d",
        "iss": "Example Vision",
        "iat": ISSUED,
        "exp": ISSUED + 30 * 86400,
        "request": b64url_encode(bytes(32)),
        "identity": b64url_encode(bytes(68)),
        "seed": b64url_encode(bytes(256)),
        "seal": b64url_encode(bytes(124)),
    }


def _certificates() -> list[bytes]:
    from tests.endorsement_certificates import Authority, endorsement_certificate
    from tests.fuzz.box_targets import AUTHORITY_KEY, anchor

    maker = Authority(anchor(), AUTHORITY_KEY)
    with mock.patch("cryptography.x509.random_serial_number", return_value=1 << 158):
        rsa_leaf = endorsement_certificate(maker, tpm_public_key())
        ecc_leaf = endorsement_certificate(maker, AUTHORITY_KEY.public_key(), usage=("key_agreement",))
        plain = endorsement_certificate(maker, tpm_public_key(), usage=(), purposes=(), authority=None)
    return [each.tbs_certificate_bytes for each in (rsa_leaf, ecc_leaf, plain)]


def _of_containers() -> Iterator[tuple[str, list[bytes]]]:
    containers = vector("container")["containers"]["good"]
    yield "container-header", [each["header"].encode() for each in containers]
    indexes = [each["index"].encode() for each in containers if len(each["index"]) <= MAX_SEED_BYTES]
    yield "container-index", indexes
    yield "container-sealed-index", indexes
    whole = [bytes.fromhex(each["container"]) for each in containers if each["content_key"] == CONTENT_KEY.hex()]
    yield "container-file", [data for data in whole if len(data) <= 20000]
    yield "fernet-file", [vector("container")["fernet"]["token"].encode()]


def _of_models() -> Iterator[tuple[str, list[bytes]]]:
    yield "protobuf-fields", [_onnx_model(), b"\x08\x01\x12\x03abc\x1d\0\0\0\0\x21" + bytes(8)]
    yield "onnx-tensors", [_onnx_model(), _onnx_model(external=True)]
    header = canonical({"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "__metadata__": {"x": "y"}})
    yield "safetensors-file", [struct.pack("<Q", len(header)) + header + bytes(16)]
    shards = {"metadata": {"total_size": 16}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    yield "weight-shards", [canonical(shards)]
    torch = {
        "m/data.pkl": pickle.dumps({"a": 1}, 2),
        "m/byteorder": b"little",
        "m/data/0": bytes(16),
        "m/version": b"3",
    }
    yield "torch-archive", [_zip(torch)]
    config = b'{"config": {"a": {"use_pickle": true, "path_name": "weight_0"}}}'
    new = {
        "m/models/model.json": b'{"target": "torch.ops.aten.add.Tensor"}',
        "m/data/weights/model_weights_config.json": config,
        "m/data/weights/weight_0": b"\x80\x02}.",
        "m/data/sample_inputs/model.pt": b"\x80\x02}.",
    }
    old = {"serialized_exported_program.json": b"{}", "serialized_state_dict.json": b"\x80\x02}."}
    yield "torch-export-archive", [_zip(new), _zip(old)]
    keras = {"config.json": b"{}", "model.weights.h5": bytes(64), "assets/words.txt": b"a b"}
    yield "keras-archive", [_zip(keras), _zip(keras, zipfile.ZIP_DEFLATED)]
    yield "paddle-pickle", [base64.b64decode(each) for each in _PADDLE_PICKLES]
    yield "gguf-parts", [b"model.gguf", b"model-00001-of-00003.gguf"]


def _onnx_model(external: bool = False) -> bytes:
    def field(number: int, content: bytes | int) -> bytes:
        if isinstance(content, int):
            return bytes([number << 3, content])
        return bytes([number << 3 | 2, len(content)]) + content

    values = field(9, bytes(8))
    if external:
        entry = field(13, field(1, b"location") + field(2, b"weights")) + field(
            13, field(1, b"offset") + field(2, b"0")
        )
        values = entry + field(14, 1)
    tensor = field(1, 2) + field(2, 1) + field(8, b"weight") + values
    node = field(1, b"weight") + field(2, b"out") + field(4, b"Identity") + field(5, field(5, tensor))
    graph = field(1, node) + field(5, tensor) + field(12, field(1, b"out"))
    return field(1, 8) + field(7, graph)


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.compress_type = compression
            archive.writestr(info, data)
    return buffer.getvalue()


if __name__ == "__main__":
    make_seeds(HERE / "seeds")
