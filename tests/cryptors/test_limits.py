"""docs/spec/container.md, section 10: the limits that it states are those that follow from the code's constants."""

import math
import re

import pytest

from cryptors.header import MAX_HEADER_BYTES, PREFIX_BYTES
from cryptors.index import LENGTH_BYTES, MAX_FILES, MAX_INDEX_BYTES, MAX_PATH_BYTES, Index, IndexedFile
from cryptors.stream import (
    CAPACITY,
    MAX_PLAINTEXT_BYTES,
    MAX_SEGMENTS,
    NONCE_PREFIX_BYTES,
    SALT_BYTES,
    STREAM_HEADER_BYTES,
    Geometry,
    SegmentCipher,
)
from licensing.strict_json import MAX_INTEGER
from tests.command_line import ROOT

NONCE_BYTES, TAG_BITS, AES_BLOCK_BYTES = 12, 128, 16
SECTION = (ROOT / "docs/spec/container.md").read_text().split("## 10. Limits\n")[1].split("\n## ")[0]
TEXT = " ".join(SECTION.split())
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in SECTION.splitlines() if line.startswith("|")]
BLOCKS_PER_SEGMENT = CAPACITY // AES_BLOCK_BYTES + 1  # One more makes the tag.
LONG_PATHS = 193
"""Bytes of each path, where there are as many files as there may be."""


def largest() -> Geometry:
    return Geometry(MAX_PLAINTEXT_BYTES)


def test_sizes() -> None:
    stated = {row[0]: row[1] for row in ROWS if len(row) == 3}
    assert stated == {
        "of a locked model": "at most",
        "---": "---",
        "segments": str(MAX_SEGMENTS),
        "bytes of plaintext": str(MAX_PLAINTEXT_BYTES),
        "bytes of the file": str(PREFIX_BYTES + MAX_HEADER_BYTES + largest().stream_bytes),
        "bytes of the header": str(MAX_HEADER_BYTES),
        "bytes of the index": str(MAX_INDEX_BYTES),
        "files": str(MAX_FILES),
        "bytes of a path": str(MAX_PATH_BYTES),
    }
    assert f"2^32 segments of {CAPACITY} bytes, less the {STREAM_HEADER_BYTES} of the stream header: 4.5 PB" in TEXT
    assert round(MAX_PLAINTEXT_BYTES / 10**15, 1) == 4.5


def test_segments_are_numbered_in_what_the_nonce_leaves() -> None:
    counter_bytes = NONCE_BYTES - NONCE_PREFIX_BYTES - 1  # One says whether the segment is the last.
    assert f"their number has {counter_bytes} bytes in the nonce" in TEXT
    assert 2 ** (8 * counter_bytes) == MAX_SEGMENTS == largest().segment_count
    assert Geometry(MAX_PLAINTEXT_BYTES + 1).segment_count > MAX_SEGMENTS


def test_nonces_of_the_largest_payload_are_all_different() -> None:
    cipher = SegmentCipher(bytes(32), b"", bytes([STREAM_HEADER_BYTES]) + bytes(STREAM_HEADER_BYTES - 1))
    numbers = (0, 1, 2, 255, 256, 2**31, MAX_SEGMENTS - 2, MAX_SEGMENTS - 1)
    nonces = [cipher._nonce(largest().segment(number)) for number in numbers]
    assert {len(nonce) for nonce in nonces} == {NONCE_BYTES}
    assert len(set(nonces)) == len(numbers)
    with pytest.raises(OverflowError):
        cipher._nonce(Geometry(MAX_PLAINTEXT_BYTES + CAPACITY).segment(MAX_SEGMENTS))


def test_lengths_of_the_largest_model_are_numbers_in_json() -> None:
    assert PREFIX_BYTES + MAX_HEADER_BYTES + largest().stream_bytes < MAX_INTEGER


def index_bytes(files: int, path_bytes: int, number: int) -> int:
    """Returns the length of an index in which every offset and every size is this number."""
    path = "x" * path_bytes
    index = Index(True, tuple(IndexedFile(path, number, number) for _ in range(files)), entry=path)
    return int.from_bytes(index.to_bytes()[:LENGTH_BYTES], "big") + LENGTH_BYTES


def test_as_many_files_as_there_may_be_fit_into_the_index() -> None:
    assert f"if the JSON text of their paths has {LONG_PATHS} bytes on average" in TEXT
    for path_bytes, fits in ((LONG_PATHS, True), (LONG_PATHS + 1, False)):
        one, two = (index_bytes(files, path_bytes, MAX_PLAINTEXT_BYTES) for files in (1, 2))
        assert (one + (MAX_FILES - 1) * (two - one) <= MAX_INDEX_BYTES) is fits


def test_what_nist_allows_a_key() -> None:
    per_invocation = (2**39 - 256) // 8
    assert f"2^39 − 256 bits of plaintext, which are {per_invocation} bytes; a segment has {CAPACITY}" in TEXT
    assert per_invocation > CAPACITY
    assert "It allows a key 2^32 invocations" in TEXT
    assert MAX_SEGMENTS <= 2**32
    assert f"q^2 / 2^{8 * SALT_BYTES + 1}" in TEXT


def test_bounds() -> None:
    assert f"{BLOCKS_PER_SEGMENT} blocks of AES each" in TEXT
    assert f"({BLOCKS_PER_SEGMENT}·k + 1)^2 / 2^129" in TEXT
    # The blocks of the ciphertext and one with its length, for each attempt.
    assert f"at most 2^-{TAG_BITS - round(math.log2(BLOCKS_PER_SEGMENT))} beside" in TEXT
    sizes = {"1 GiB": 2**30, "1 TiB": 2**40, "the largest": MAX_PLAINTEXT_BYTES}
    rows = [row for row in ROWS if row[0] in sizes]
    assert len(rows) == len(sizes)
    for name, *stated in rows:
        segments = Geometry(sizes[name]).segment_count
        blocks = math.log2(BLOCKS_PER_SEGMENT * segments + 1)
        assert stated == [str(segments), f"2^{blocks:.0f}", f"2^{2 * blocks - 129:.0f}"]


def test_the_other_sections_say_the_same() -> None:
    whole = (ROOT / "docs/spec/container.md").read_text()
    assert f"int(1, {MAX_PLAINTEXT_BYTES})" in whole
    assert set(re.findall(r"array\(1, (\d+)\) of objects", whole)) == {str(MAX_FILES)}
    assert f"2 ≤ n ≤ {MAX_HEADER_BYTES}" in whole
    assert f"2 ≤ m ≤ {MAX_INDEX_BYTES}" in whole
