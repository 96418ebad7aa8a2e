"""The vectors of docs/spec/container.md: payloads, whole locked models, and ones that break a rule."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.vectors.bad_containers import bad_containers
from tests.vectors.reference_container import (
    CAPACITY,
    FIRST_CAPACITY,
    LABEL,
    SEGMENT_BYTES,
    FixedStream,
    derived_key,
    encode_container,
    encode_plaintext,
    fernet_token,
    layout,
    make_bad_container,
    make_header,
    make_plaintext,
)
from tests.vectors.reference_crypto import canonical, pseudo_random, sha256
from tests.vectors.reference_license import fixed_uuid, key_id

__all__ = ["containers"]

SIZES = [1, 4096, *(total + more for total in (FIRST_CAPACITY, FIRST_CAPACITY + CAPACITY) for more in (-1, 0, 1))]
SMALL = 128
"""Ciphertexts of more bytes than this are stored as their SHA-256."""


def containers() -> dict[str, Any]:
    return {
        "streams": {"good": _streams(), "bad": list(_bad_streams())},
        "containers": {"good": list(_good()), "bad": list(_bad())},
        "fernet": _fernet(),
    }


def _streams() -> list[dict[str, Any]]:
    vectors = []
    for size in SIZES:
        stream = FixedStream.of(f"{size} bytes", f"associated data of {size} bytes".encode() if size > 1 else b"")
        plaintext = make_plaintext(size)
        ciphertext = stream.encrypt(plaintext)
        vectors.append(
            {
                "plaintext_bytes": size,
                "plaintext_sha256": sha256(plaintext).hex(),
                "content_key": stream.content_key.hex(),
                "associated_data": stream.associated_data.hex(),
                "salt": stream.salt.hex(),
                "nonce_prefix": stream.nonce_prefix.hex(),
                "segment_key": stream.segment_key.hex(),
                "ciphertext_bytes": len(ciphertext),
                "ciphertext_sha256": sha256(ciphertext).hex(),
                **({"ciphertext": ciphertext.hex()} if len(ciphertext) <= SMALL else {}),
            }
        )
    return vectors


def _bad_streams() -> Iterator[dict[str, Any]]:
    """Edits of the longest stream, which has three segments; the last holds one byte."""
    size = SIZES[-1]
    length = 40 + size + 3 * 16
    one, two = SEGMENT_BYTES, 2 * SEGMENT_BYTES
    edits: dict[str, dict[str, Any]] = {
        "the length byte changed": {"flip": 0},
        "the salt changed": {"flip": 1},
        "the nonce prefix changed": {"flip": 39},
        "the first ciphertext byte changed": {"flip": 40},
        "a tag changed": {"flip": one - 1},
        "the last byte changed": {"flip": length - 1},
        "the last byte missing": {"slices": [[0, length - 1]]},
        "the last segment missing": {"slices": [[0, two]]},
        "the last two segments missing": {"slices": [[0, one]]},
        "the middle segment missing": {"slices": [[0, one], [two, length]]},
        "the middle segment twice": {"slices": [[0, two], [one, length]]},
        "the last segment twice": {"slices": [[0, length], [two, length]]},
        "the last two segments exchanged": {"slices": [[0, one], [two, length], [one, two]]},
        "a byte appended": {"append": "00"},
        "only the stream header": {"slices": [[0, 40]]},
        "nothing": {"slices": []},
    }
    for name, edit in edits.items():
        yield {"name": name, "plaintext_bytes": size, "edit": edit}
    yield {"name": "other associated data", "plaintext_bytes": size, "associated_data": "00"}
    yield {"name": "another content key", "plaintext_bytes": size, "content_key": bytes(32).hex()}


def _good() -> Iterator[dict[str, Any]]:
    model, external = b"not really an ONNX graph", bytes(range(256)) * 17
    two = {"model.onnx": model, "weights/external.bin": external}
    odd = {"a": b"1", "a.b/c": b"22", "a-b": b"", "größe ☃": b"333", "model.onnx": b"4", "z": b""}
    yield _container("one file", {"model.onnx": model}, directory=False, entry=None)
    yield _container("an empty file", {"model.onnx": b""}, directory=False, entry="model.onnx")
    yield _container("a directory", two, directory=True, entry="model.onnx")
    yield _container("paths that sort by their bytes, empty files", odd, directory=True, entry=None)
    yield _derived()
    extended: dict[str, Any] = {"crit": ["name", "crit"], "later": {"any": [None, True, -1]}}
    yield _container("unknown header members", {"model.onnx": model}, directory=False, entry=None, **extended)


def _derived() -> dict[str, Any]:
    """A derived model: its content key follows from the key of all other containers here."""
    parent_key = pseudo_random(f"content key, {LABEL}", 32)
    parent = {"model_id": fixed_uuid("model id, locked model"), "key_id": key_id(parent_key)}
    model_id = fixed_uuid("model id, derived model")
    derived = derived_key(parent_key, parent, model_id)
    changes: dict[str, Any] = {"model_id": model_id, "key_id": key_id(derived), "parent": parent}
    vector = _container(
        "a derived model", {"engine.plan": b"not really an engine"}, False, None, key=derived, **changes
    )
    return {**vector, "parent_content_key": parent_key.hex()}


def _container(
    name: str, files: dict[str, bytes], directory: bool, entry: str | None, *, key: bytes | None = None, **changes: Any
) -> dict[str, Any]:
    index = layout(files, directory, entry)
    size = index["files"][-1]["offset"] + index["files"][-1]["size"]
    header = canonical(make_header(index, size, **changes))
    contents = {item["offset"]: files[item["path"]] for item in index["files"]}
    plaintext = encode_plaintext(canonical(index), contents, size)
    stream = FixedStream.of(LABEL, header.encode())
    if key is not None:
        stream = replace(stream, content_key=key)
    return {
        "name": name,
        "content_key": stream.content_key.hex(),
        "header": header,
        "index": canonical(index),
        "files": {path: content.hex() for path, content in files.items()},
        "plaintext_sha256": sha256(plaintext).hex(),
        "container": encode_container(header, stream.encrypt(plaintext)).hex(),
    }


def _bad() -> Iterator[dict[str, Any]]:
    for vector in bad_containers():
        yield {**vector, "container_sha256": sha256(make_bad_container(vector)).hex()}


def _fernet() -> dict[str, str]:
    key, message = pseudo_random("Fernet key", 32), pseudo_random("Fernet message", 50)
    token = fernet_token(key, message, 1_600_000_000, pseudo_random("Fernet IV", 16))
    return {"content_key": base64.urlsafe_b64encode(key).decode(), "message": message.hex(), "token": token}
