"""docs/spec/container.md, section 3: where segments begin and end, and what a tag refuses."""

import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptors.errors import ModelDamagedError
from cryptors.stream import (
    MAX_PLAINTEXT_BYTES,
    SEGMENT_BYTES,
    STREAM_HEADER_BYTES,
    Geometry,
    SegmentCipher,
    decrypt_bytes,
    encrypt_bytes,
    new_stream_header,
)

FIRST, OTHER = 1048520, 1048560
"""Plaintext bytes of the first segment and of every other one, as the specification says them."""

KEY = secrets.token_bytes(32)
EDGES = [
    *(0, 1, 2),
    *(edge + more for edge in (FIRST, FIRST + OTHER, FIRST + 2 * OTHER) for more in (-1, 0, 1)),
]


# Geometry.


@pytest.mark.parametrize(
    ("plaintext_bytes", "segment_count", "stream_bytes"),
    [
        (0, 1, 56),
        (1, 1, 57),
        (FIRST, 1, SEGMENT_BYTES),
        (FIRST + 1, 2, SEGMENT_BYTES + 17),
        (FIRST + OTHER, 2, 2 * SEGMENT_BYTES),
        (FIRST + OTHER + 1, 3, 2 * SEGMENT_BYTES + 17),
        (4503530907893720, 2**32, 2**32 * SEGMENT_BYTES),
    ],
)
def test_lengths(plaintext_bytes: int, segment_count: int, stream_bytes: int) -> None:
    geometry = Geometry(plaintext_bytes)
    assert (geometry.segment_count, geometry.stream_bytes) == (segment_count, stream_bytes)


def test_largest_plaintext() -> None:
    assert MAX_PLAINTEXT_BYTES == 4503530907893720
    assert Geometry(MAX_PLAINTEXT_BYTES).segment_count == 2**32
    assert Geometry(MAX_PLAINTEXT_BYTES + 1).segment_count == 2**32 + 1


@pytest.mark.parametrize("plaintext_bytes", EDGES)
def test_segments_follow_each_other(plaintext_bytes: int) -> None:
    geometry = Geometry(plaintext_bytes)
    segments = [geometry.segment(number) for number in range(geometry.segment_count)]
    plaintext_end, ciphertext_end = 0, STREAM_HEADER_BYTES
    for segment in segments:
        assert (segment.plaintext_offset, segment.ciphertext_offset) == (plaintext_end, ciphertext_end)
        assert segment.last == (segment is segments[-1])
        assert segment.last or segment.plaintext_bytes == (OTHER if segment.number else FIRST)
        plaintext_end += segment.plaintext_bytes
        ciphertext_end += segment.ciphertext_bytes
    assert (plaintext_end, ciphertext_end) == (plaintext_bytes, geometry.stream_bytes)


@settings(deadline=None)
@given(st.data(), st.integers(1, MAX_PLAINTEXT_BYTES))
def test_segments_of_a_range_are_those_that_hold_it(data: st.DataObject, plaintext_bytes: int) -> None:
    geometry = Geometry(plaintext_bytes)
    start = data.draw(st.integers(0, plaintext_bytes - 1))
    end = data.draw(st.integers(start + 1, plaintext_bytes))
    numbers = geometry.segments_of(start, end)
    first, last = geometry.segment(numbers[0]), geometry.segment(numbers[-1])
    assert first.plaintext_offset <= start < first.plaintext_offset + first.plaintext_bytes
    assert last.plaintext_offset < end <= last.plaintext_offset + last.plaintext_bytes


@pytest.mark.parametrize("place", [0, FIRST - 1, FIRST, FIRST + 1, FIRST + OTHER - 1, FIRST + OTHER])
def test_segment_of_one_byte(place: int) -> None:
    expected = 0 if place < FIRST else 1 + (place - FIRST) // OTHER
    assert Geometry(10 * OTHER).segments_of(place, place + 1) == range(expected, expected + 1)


def test_nothing_needs_no_segment() -> None:
    assert list(Geometry(100).segments_of(50, 50)) == []


# Round trips and refusals.


@pytest.mark.parametrize("plaintext_bytes", EDGES)
def test_round_trip(plaintext_bytes: int) -> None:
    plaintext = secrets.token_bytes(plaintext_bytes)
    ciphertext = encrypt_bytes(KEY, b"header", plaintext)
    assert len(ciphertext) == Geometry(plaintext_bytes).stream_bytes
    assert decrypt_bytes(KEY, b"header", ciphertext) == plaintext


def test_every_stream_has_a_salt_of_its_own() -> None:
    first, second = (encrypt_bytes(KEY, b"header", bytes(1000)) for _ in range(2))
    assert first[1:40] != second[1:40]
    assert first[40:] != second[40:]


@pytest.mark.parametrize("associated_data", [b"", b"heade", b"header ", b"Header", b"header\0"])
def test_wrong_associated_data(associated_data: bytes) -> None:
    ciphertext = encrypt_bytes(KEY, b"header", b"weights")
    with pytest.raises(ModelDamagedError):
        decrypt_bytes(KEY, associated_data, ciphertext)


def test_wrong_key() -> None:
    ciphertext = encrypt_bytes(KEY, b"header", b"weights")
    with pytest.raises(ModelDamagedError):
        decrypt_bytes(secrets.token_bytes(32), b"header", ciphertext)


@pytest.mark.parametrize("plaintext_bytes", [7, FIRST, FIRST + 1, FIRST + OTHER])
def test_cut_anywhere(plaintext_bytes: int) -> None:
    """Also exactly behind a segment: the last one is marked as the last."""
    ciphertext = encrypt_bytes(KEY, b"header", bytes(plaintext_bytes))
    lengths = {0, 1, 39, 40, 55, 56, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 16, len(ciphertext) - 1}
    for length in sorted(length for length in lengths if length < len(ciphertext)):
        with pytest.raises(ModelDamagedError):
            decrypt_bytes(KEY, b"header", ciphertext[:length])


@pytest.mark.parametrize(
    "stream_header", [b"", bytes([39]) + bytes(39), bytes([40]) + bytes(38), bytes([40]) + bytes(40)]
)
def test_stream_header_of_another_cipher(stream_header: bytes) -> None:
    with pytest.raises(ModelDamagedError):
        SegmentCipher(KEY, b"header", stream_header)


@pytest.mark.parametrize("place", [0, 500_000, -17, -16, -1])
def test_memory_is_wiped_when_a_tag_fails(place: int) -> None:
    """The library decrypts before it has compared the tag, and leaves the plaintext where it put it."""
    stream_header = new_stream_header()
    cipher = SegmentCipher(KEY, b"header", stream_header)
    segment = Geometry(FIRST).segment(0)
    ciphertext, out = bytearray(segment.ciphertext_bytes), bytearray(b"\xaa" * FIRST)
    cipher.seal(segment, memoryview(secrets.token_bytes(FIRST)), memoryview(ciphertext))
    ciphertext[place] ^= 1
    with pytest.raises(ModelDamagedError) as caught:
        cipher.open(segment, memoryview(ciphertext), memoryview(out))
    assert caught.value.reason == "model_damaged"
    assert out == bytes(FIRST)
