"""The payload's cipher: Tink's streaming AEAD AES256-GCM-HKDF with 1 MiB segments, byte for byte.

docs/spec/container.md, section "Payload". The construction is that of Hoang, Reyhanitabar, Rogaway and Vizár,
"Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance" (CRYPTO 2015), as Tink publishes it
(AES-GCM-HKDF Streaming AEAD): each segment is sealed with AES-256-GCM under a key derived for this stream, with
its number and an end mark in its nonce, so that dropped, reordered, repeated and appended segments are noticed.
"""

import secrets
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cryptors.errors import ModelDamagedError
from cryptors.memory import wipe
from licensing.secret_memory import SecretMemory

__all__ = ["MAX_PLAINTEXT_BYTES", "SEGMENT_BYTES", "Geometry", "SegmentCipher", "decrypt_bytes", "encrypt_bytes"]

KEY_BYTES = 32
SEGMENT_BYTES = 1024 * 1024
TAG_BYTES = 16
SALT_BYTES = 32
NONCE_PREFIX_BYTES = 7
STREAM_HEADER_BYTES = 1 + SALT_BYTES + NONCE_PREFIX_BYTES
MAX_SEGMENTS = 2**32
CAPACITY = SEGMENT_BYTES - TAG_BYTES
"""Plaintext bytes in every segment but the first, which gives some to the stream header."""
MAX_PLAINTEXT_BYTES = MAX_SEGMENTS * CAPACITY - STREAM_HEADER_BYTES


class Segment(NamedTuple):
    """Where one segment is: in the plaintext, and in the stream of ciphertext that begins with the stream header."""

    number: int
    plaintext_offset: int
    plaintext_bytes: int
    ciphertext_offset: int
    last: bool

    @property
    def ciphertext_bytes(self) -> int:
        """The sealed segment's length, tag included."""
        return self.plaintext_bytes + TAG_BYTES


@dataclass(frozen=True)
class Geometry:
    """How a plaintext of a given length is cut into segments. All lengths are in bytes."""

    plaintext_bytes: int

    @property
    def segment_count(self) -> int:
        """At least one: an empty plaintext is one empty segment."""
        return max(1, -(-(self.plaintext_bytes + STREAM_HEADER_BYTES) // CAPACITY))

    @property
    def stream_bytes(self) -> int:
        """The length of the whole stream, its header included."""
        return STREAM_HEADER_BYTES + self.plaintext_bytes + TAG_BYTES * self.segment_count

    def segment(self, number: int) -> Segment:
        """Returns the place of one segment."""
        # The stream header counts as if it were plaintext of the first segment, which makes all segments alike.
        start = max(0, number * CAPACITY - STREAM_HEADER_BYTES)
        end = min(self.plaintext_bytes, (number + 1) * CAPACITY - STREAM_HEADER_BYTES)
        offset = number * SEGMENT_BYTES if number else STREAM_HEADER_BYTES
        return Segment(number, start, end - start, offset, end == self.plaintext_bytes)

    def segments_of(self, start: int, end: int) -> range:
        """Returns the numbers of the segments that hold the plaintext from `start` to before `end`."""
        if start >= end:
            return range(0)
        return range((start + STREAM_HEADER_BYTES) // CAPACITY, (end - 1 + STREAM_HEADER_BYTES) // CAPACITY + 1)


class SegmentCipher:
    """Seals and opens the segments of one stream; safe to use from several threads.

    The stream's key lies in secret memory. What the library makes of it is on the heap, until `rest` is called: a
    model that stays open has nothing there between reads.

    Args:
        content_key: the input key, 32 bytes.
        associated_data: what the payload is bound to: the container's header.
        stream_header: the first 40 bytes of the stream.

    Raises:
        ModelDamagedError: the stream header is not one of this cipher.
    """

    def __init__(self, content_key: bytes, associated_data: bytes, stream_header: bytes) -> None:
        if len(stream_header) != STREAM_HEADER_BYTES or stream_header[0] != STREAM_HEADER_BYTES:
            raise ModelDamagedError("the locked model is damaged")
        salt = stream_header[1 : 1 + SALT_BYTES]
        self._nonce_prefix = stream_header[1 + SALT_BYTES :]
        self._key = SecretMemory(KEY_BYTES)
        hkdf = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=associated_data)
        hkdf.derive_into(content_key, self._key.view)
        self._aead: AESGCM | None = AESGCM(self._key.view)

    def seal(self, segment: Segment, plaintext: memoryview, out: memoryview) -> None:
        """Encrypts a segment into memory of exactly its sealed length."""
        self._ready().encrypt_into(self._nonce(segment), plaintext, None, out)

    def open(self, segment: Segment, ciphertext: memoryview, out: memoryview) -> None:
        """Decrypts a segment into memory of exactly its plaintext length.

        Raises:
            ModelDamagedError: its tag does not verify. The memory is wiped: the library leaves plaintext there.
        """
        try:
            self._ready().decrypt_into(self._nonce(segment), ciphertext, None, out)
        except InvalidTag as cause:
            wipe(out)
            raise ModelDamagedError("the locked model is damaged") from cause

    def close(self) -> None:
        """Overwrites the key; nothing can be sealed or opened after that."""
        self.rest()
        self._key.close()

    def rest(self) -> None:
        """Gives back what the library made of the key, which overwrites it; the next segment makes it again."""
        self._aead = None

    def _ready(self) -> AESGCM:
        aead = self._aead
        if aead is None:
            aead = self._aead = AESGCM(self._key.view)
        return aead

    def _nonce(self, segment: Segment) -> bytes:
        return self._nonce_prefix + segment.number.to_bytes(4, "big") + bytes([segment.last])


def new_stream_header() -> bytes:
    """Returns a stream header with a fresh salt and nonce prefix."""
    return bytes([STREAM_HEADER_BYTES]) + secrets.token_bytes(SALT_BYTES + NONCE_PREFIX_BYTES)


def encrypt_bytes(content_key: bytes, associated_data: bytes, plaintext: bytes) -> bytes:
    """Encrypts a whole plaintext in memory; for small things and for tests."""
    geometry = Geometry(len(plaintext))
    header = new_stream_header()
    stream = bytearray(geometry.stream_bytes)
    stream[:STREAM_HEADER_BYTES] = header
    source, target = memoryview(plaintext), memoryview(stream)
    with closing(SegmentCipher(content_key, associated_data, header)) as cipher:
        for segment in map(geometry.segment, range(geometry.segment_count)):
            start, end = segment.plaintext_offset, segment.plaintext_offset + segment.plaintext_bytes
            sealed_end = segment.ciphertext_offset + segment.ciphertext_bytes
            cipher.seal(segment, source[start:end], target[segment.ciphertext_offset : sealed_end])
    return bytes(stream)


def decrypt_bytes(content_key: bytes, associated_data: bytes, ciphertext: bytes) -> bytes:
    """Decrypts a whole stream in memory; for small things and for tests.

    Raises:
        ModelDamagedError: it is not authentic.
    """
    segment_count = max(1, -(-len(ciphertext) // SEGMENT_BYTES))
    geometry = Geometry(len(ciphertext) - STREAM_HEADER_BYTES - TAG_BYTES * segment_count)
    if geometry.plaintext_bytes < 0 or geometry.stream_bytes != len(ciphertext):
        raise ModelDamagedError("the locked model is damaged")
    plaintext = bytearray(geometry.plaintext_bytes)
    source, target = memoryview(ciphertext), memoryview(plaintext)
    with closing(SegmentCipher(content_key, associated_data, ciphertext[:STREAM_HEADER_BYTES])) as cipher:
        for segment in map(geometry.segment, range(geometry.segment_count)):
            start, end = segment.plaintext_offset, segment.plaintext_offset + segment.plaintext_bytes
            sealed_end = segment.ciphertext_offset + segment.ciphertext_bytes
            cipher.open(segment, source[segment.ciphertext_offset : sealed_end], target[start:end])
    return bytes(plaintext)
