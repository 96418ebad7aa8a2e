"""The locked model's format, written from docs/spec/container.md alone; salts and nonce prefixes are given."""

import base64
import hmac
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors.reference_crypto import canonical, framed, hkdf, pseudo_random
from tests.vectors.reference_license import fixed_uuid, key_id

SEGMENT_BYTES = 1048576
FIRST_CAPACITY = SEGMENT_BYTES - 40 - 16
CAPACITY = SEGMENT_BYTES - 16
ALIGNMENT = 4096

LABEL = "locked model"
"""From which the content key, the salt and the nonce prefix of all whole containers follow."""


@dataclass(frozen=True)
class FixedStream:
    """What determines a payload beside its plaintext (section 3)."""

    content_key: bytes
    associated_data: bytes
    salt: bytes
    nonce_prefix: bytes

    @classmethod
    def of(cls, label: str, associated_data: bytes) -> "FixedStream":
        key, salt = pseudo_random(f"content key, {label}", 32), pseudo_random(f"stream salt, {label}", 32)
        return cls(key, associated_data, salt, pseudo_random(f"nonce prefix, {label}", 7))

    @property
    def segment_key(self) -> bytes:
        return hkdf(self.content_key, self.salt, self.associated_data)

    def encrypt(self, plaintext: bytes) -> bytes:
        """Returns the payload."""
        segments = [plaintext[:FIRST_CAPACITY]]
        for start in range(FIRST_CAPACITY, len(plaintext), CAPACITY):
            segments.append(plaintext[start : start + CAPACITY])
        aead = AESGCM(self.segment_key)
        stream = bytes([40]) + self.salt + self.nonce_prefix
        for number, segment in enumerate(segments):
            last = number == len(segments) - 1
            stream += aead.encrypt(self.nonce_prefix + number.to_bytes(4, "big") + bytes([last]), segment, None)
        return stream


def make_plaintext(size: int) -> bytes:
    """The plaintext of a stream vector: SHAKE-256 of a text that holds its length."""
    return pseudo_random(f"plaintext of {size} bytes", size)


def aligned(offset: int) -> int:
    while offset % ALIGNMENT:
        offset += 1
    return offset


def layout(files: dict[str, bytes], directory: bool, entry: str | None) -> dict[str, Any]:
    """The index of files (section 4), found by trying lengths of the index until one fits."""
    guess = 2
    while True:
        items, end = [], 4 + guess
        for path in sorted(files, key=lambda path: path.encode()):
            items.append({"path": path, "offset": aligned(end), "size": len(files[path])})
            end = aligned(end) + len(files[path])
        index = {"layout": "directory" if directory else "file", "files": items}
        if entry is not None:
            index["entry"] = entry
        length = len(canonical(index).encode())
        if aligned(4 + length) == aligned(4 + guess):
            return index
        guess = length


def encode_plaintext(index: str, contents: dict[int, bytes], size: int) -> bytes:
    """The plaintext: the index with its length, contents at their offsets, zero bytes elsewhere."""
    text = index.encode()
    plaintext = bytearray(len(text).to_bytes(4, "big") + text).ljust(size, b"\0")[:size]
    for offset, content in contents.items():
        plaintext[offset : offset + len(content)] = content
    return bytes(plaintext)


def encode_container(header: str, payload: bytes) -> bytes:
    """The file (section 1)."""
    encoded = header.encode()
    return bytes.fromhex("574c4f434b45440a") + len(encoded).to_bytes(4, "big") + encoded + payload


def apply_edit(data: bytes, edit: dict[str, Any]) -> bytes:
    """Applies the edit of a bad vector: `slices` to join, then one byte to `flip` by 01, then bytes to `append`."""
    slices = edit.get("slices", [[0, len(data)]])
    edited = bytearray(b"".join(data[start:end] for start, end in slices))
    if "flip" in edit:
        edited[edit["flip"]] ^= 1
    return bytes(edited) + bytes.fromhex(edit.get("append", ""))


def fernet_token(key: bytes, message: bytes, time: int, iv: bytes) -> str:
    """A Fernet token (section 8)."""
    padding = 16 - len(message) % 16
    encryptor = Cipher(algorithms.AES(key[16:]), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(message + bytes([padding]) * padding) + encryptor.finalize()
    signed = b"\x80" + time.to_bytes(8, "big") + iv + ciphertext
    return base64.urlsafe_b64encode(signed + hmac.digest(key[:16], signed, "sha256")).decode()


def derived_key(content_key: bytes, parent: dict[str, str], model_id: str) -> bytes:
    """Section 7."""
    names = (parent["model_id"], parent["key_id"], model_id)
    info = framed(b"weightlock/1/derived", *(name.encode() for name in names))
    return hkdf(content_key, bytes(32), info)


def make_header(index: dict[str, Any], size: int, **changes: Any) -> dict[str, Any]:
    header = {
        "version": 1,
        "model_id": fixed_uuid("model id, locked model"),
        "name": "MiniLM – encoder",
        "type": "onnx",
        "key_id": key_id(pseudo_random(f"content key, {LABEL}", 32)),
        "plaintext_bytes": size,
        "content_bytes": sum(item["size"] for item in index["files"]),
        "files": len(index["files"]),
        "created": "2026-12-01T00:00:00Z",
        "generator": "weightlock test vectors",
        **changes,
    }
    return {name: value for name, value in header.items() if value is not None}


def make_bad_container(vector: dict[str, Any]) -> bytes:
    """Makes a bad container from its vector: the plaintext is the index and zero bytes; the edit comes last."""
    header, index = vector["header"], vector["index"]
    plaintext = encode_plaintext(index, {}, vector["plaintext_bytes"])
    if "index_length" in vector:
        plaintext = int(vector["index_length"]).to_bytes(4, "big") + plaintext[4:]
    payload = FixedStream.of(LABEL, header.encode()).encrypt(plaintext)
    return apply_edit(encode_container(header, payload), vector.get("edit", {}))
