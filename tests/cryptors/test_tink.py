"""Tink reads our payloads, we read Tink's, and both agree with the vectors of docs/spec/container.md.

Whole locked models are here too: Tink opens their payloads, and our reader the whole.
"""

import io
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cryptors.errors import CryptorError, ModelDamagedError
from cryptors.fernet_file import decrypt_fernet
from cryptors.keys import KeySource
from cryptors.reader import LockedModel
from cryptors.stream import decrypt_bytes, encrypt_bytes
from licensing.content_key import read_content_key
from tests.vectors.reference_container import FixedStream, apply_edit, make_bad_container, make_plaintext
from tests.vectors.reference_crypto import sha256

tink = pytest.importorskip("tink")
streaming_aead = pytest.importorskip("tink.streaming_aead")
proto_keyset_format = pytest.importorskip("tink").proto_keyset_format
secret_key_access = pytest.importorskip("tink.secret_key_access")
tink_pb2 = pytest.importorskip("tink.proto.tink_pb2")
common_pb2 = pytest.importorskip("tink.proto.common_pb2")
streaming_pb2 = pytest.importorskip("tink.proto.aes_gcm_hkdf_streaming_pb2")

SEGMENT_BYTES = 1048576
FIRST, OTHER = SEGMENT_BYTES - 56, SEGMENT_BYTES - 16
LENGTHS = [
    1,
    2,
    4095,
    4096,
    *(total + more for total in (FIRST, FIRST + OTHER) for more in (-1, 0, 1)),
    FIRST + 3 * OTHER,
]

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "container.json").read_text(encoding="ascii"))
STREAMS, CONTAINERS = VECTORS["streams"], VECTORS["containers"]
STREAM_OF_SIZE = {vector["plaintext_bytes"]: vector for vector in STREAMS["good"]}


def name_of(vector: dict[str, Any]) -> str:
    return str(vector["name"]).replace(" ", "_")


@pytest.fixture(scope="module", name="tink_primitive")
def _tink_primitive() -> Callable[[bytes], Any]:
    """Returns a function from a content key to Tink's streaming AEAD with the parameters of the specification."""
    streaming_aead.register()

    def primitive(content_key: bytes) -> Any:
        key = streaming_pb2.AesGcmHkdfStreamingKey(
            version=0,
            key_value=content_key,
            params=streaming_pb2.AesGcmHkdfStreamingParams(
                ciphertext_segment_size=SEGMENT_BYTES, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
            ),
        )
        keyset = tink_pb2.Keyset(primary_key_id=1)
        entry = keyset.key.add()
        entry.key_data.type_url = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
        entry.key_data.value = key.SerializeToString()
        entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
        entry.status = tink_pb2.ENABLED
        entry.key_id = 1
        entry.output_prefix_type = tink_pb2.RAW
        handle = proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
        return handle.primitive(streaming_aead.StreamingAead)

    return primitive


def tink_encrypt(primitive: Any, associated_data: bytes, plaintext: bytes) -> bytes:
    class Target(io.BytesIO):
        """Keeps its content when Tink closes it."""

        content = b""

        def close(self) -> None:
            self.content = self.getvalue() if not self.closed else self.content
            super().close()

    target = Target()
    with primitive.new_encrypting_stream(target, associated_data) as stream:
        stream.write(plaintext)
    return target.content


def tink_decrypt(primitive: Any, associated_data: bytes, ciphertext: bytes) -> bytes:
    with primitive.new_decrypting_stream(io.BytesIO(ciphertext), associated_data) as stream:
        return bytes(stream.read())


@pytest.mark.parametrize("length", LENGTHS)
def test_tink_decrypts_ours(tink_primitive: Callable[[bytes], Any], length: int) -> None:
    content_key, plaintext = secrets.token_bytes(32), secrets.token_bytes(length)
    ciphertext = encrypt_bytes(content_key, b"header", plaintext)
    assert tink_decrypt(tink_primitive(content_key), b"header", ciphertext) == plaintext


@pytest.mark.parametrize("length", LENGTHS)
def test_we_decrypt_tinks(tink_primitive: Callable[[bytes], Any], length: int) -> None:
    content_key, plaintext = secrets.token_bytes(32), secrets.token_bytes(length)
    ciphertext = tink_encrypt(tink_primitive(content_key), b"header", plaintext)
    assert decrypt_bytes(content_key, b"header", ciphertext) == plaintext


# The vectors.


def stream_of(vector: dict[str, Any]) -> FixedStream:
    names = ("content_key", "associated_data", "salt", "nonce_prefix")
    return FixedStream(*(bytes.fromhex(vector[name]) for name in names))


@pytest.mark.parametrize("vector", STREAMS["good"], ids=lambda vector: f"{vector['plaintext_bytes']}_bytes")
def test_vector(tink_primitive: Callable[[bytes], Any], vector: dict[str, Any]) -> None:
    stream, plaintext = stream_of(vector), make_plaintext(vector["plaintext_bytes"])
    ciphertext = stream.encrypt(plaintext)
    assert sha256(plaintext).hex() == vector["plaintext_sha256"]
    assert (len(ciphertext), sha256(ciphertext).hex()) == (vector["ciphertext_bytes"], vector["ciphertext_sha256"])
    assert ciphertext == bytes.fromhex(vector.get("ciphertext", ciphertext.hex()))
    assert decrypt_bytes(stream.content_key, stream.associated_data, ciphertext) == plaintext
    assert tink_decrypt(tink_primitive(stream.content_key), stream.associated_data, ciphertext) == plaintext


@pytest.mark.parametrize("vector", STREAMS["bad"], ids=name_of)
def test_bad_vector(tink_primitive: Callable[[bytes], Any], vector: dict[str, Any]) -> None:
    good = stream_of(STREAM_OF_SIZE[vector["plaintext_bytes"]])
    ciphertext = apply_edit(good.encrypt(make_plaintext(vector["plaintext_bytes"])), vector.get("edit", {}))
    content_key = bytes.fromhex(vector.get("content_key", good.content_key.hex()))
    associated_data = bytes.fromhex(vector.get("associated_data", good.associated_data.hex()))
    with pytest.raises(ModelDamagedError):
        decrypt_bytes(content_key, associated_data, ciphertext)
    with pytest.raises(tink.TinkError):
        tink_decrypt(tink_primitive(content_key), associated_data, ciphertext)


@pytest.mark.parametrize("vector", CONTAINERS["good"], ids=name_of)
def test_container(tmp_path: Path, tink_primitive: Callable[[bytes], Any], vector: dict[str, Any]) -> None:
    path, content_key = tmp_path / "model.locked", bytes.fromhex(vector["content_key"])
    path.write_bytes(bytes.fromhex(vector["container"]))
    with LockedModel(path, content_key) as model:
        header = model.header.encoded
        files = {file.path: model.file(file.path).read_all().hex() for file in model.index.files}
        model.verify_rest()
    if "parent_content_key" in vector:
        assert KeySource(bytes.fromhex(vector["parent_content_key"])).content_key(path) == content_key
    assert header.decode() == vector["header"]
    assert files == vector["files"]

    plaintext = tink_decrypt(tink_primitive(content_key), header, path.read_bytes()[12 + len(header) :])
    index = vector["index"].encode()
    assert plaintext.startswith(len(index).to_bytes(4, "big") + index)
    assert sha256(plaintext).hex() == vector["plaintext_sha256"]


@pytest.mark.parametrize("vector", CONTAINERS["bad"], ids=name_of)
def test_bad_container(tmp_path: Path, vector: dict[str, Any]) -> None:
    path, data = tmp_path / "model.locked", make_bad_container(vector)
    assert sha256(data).hex() == vector["container_sha256"]
    path.write_bytes(data)
    with pytest.raises(CryptorError) as caught:
        LockedModel(path, bytes.fromhex(vector["content_key"]))
    assert caught.value.reason == vector["reason"]


def test_file_of_the_old_toolkit(tmp_path: Path) -> None:
    vector, path = VECTORS["fernet"], tmp_path / "model.crt"
    path.write_text(vector["token"])
    content_key = read_content_key(vector["content_key"])
    assert decrypt_fernet(path, content_key).hex() == vector["message"]
    with pytest.raises(ModelDamagedError):
        decrypt_fernet(path, bytes(32))
