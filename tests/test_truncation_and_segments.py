"""Locked models that are cut short, lengthened, or put together anew from authentic segments: all are refused.

An attacker may also rewrite the header, so that the file's length fits again: the header is the associated data of the
payload, so that no segment opens under another one. docs/spec/container.md, sections 3 and 6.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cryptors.errors import CryptorError, ModelDamagedError, ModelMalformedError
from cryptors.header import MAGIC, PREFIX_BYTES
from cryptors.reader import LockedModel, read_header
from cryptors.stream import STREAM_HEADER_BYTES, TAG_BYTES, Geometry
from licensing.content_key import new_content_key
from tests.lock_scene import Scene
from tests.locked_models import PATTERN, SEGMENT_COUNT, lock_pattern, payload_offset, read_whole, segments


@pytest.fixture(scope="module")
def intact(lock_scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a locked model of three segments, the last one shorter than the others; read it, never write to it."""
    return lock_pattern(tmp_path_factory.mktemp("intact") / "net.locked", lock_scene.model)


@pytest.fixture
def content_key(lock_scene: Scene) -> bytes:
    return lock_scene.model.content_key


def refused(data: bytes, content_key: bytes, directory: Path) -> str:
    """Returns the reason for which a locked model with this content is refused."""
    attempt = directory / "attempt.locked"
    attempt.write_bytes(data)
    with pytest.raises(CryptorError) as refusal:
        read_whole(attempt, content_key)
    return refusal.value.reason


def parts(locked: Path) -> tuple[bytes, list[bytes]]:
    """Returns a locked model up to its segments, and its segments."""
    data, start = locked.read_bytes(), payload_offset(locked)
    sealed = [
        data[start + each.ciphertext_offset : start + each.ciphertext_offset + each.ciphertext_bytes]
        for each in segments(locked)
    ]
    return data[: start + STREAM_HEADER_BYTES], sealed


def with_plaintext_bytes(beginning: bytes, locked: Path, plaintext_bytes: int) -> bytes:
    """Returns the part before the segments under a header that claims another length of the plaintext."""
    header = replace(read_header(locked), plaintext_bytes=plaintext_bytes).encode()
    return header.prefix() + beginning[-STREAM_HEADER_BYTES:]


def test_the_intact_model_opens(intact: Path, content_key: bytes) -> None:
    """The control for everything below, and that taking a model apart and putting it together changes nothing."""
    beginning, sealed = parts(intact)
    assert len(sealed) == SEGMENT_COUNT
    assert beginning + b"".join(sealed) == intact.read_bytes()
    assert with_plaintext_bytes(beginning, intact, read_header(intact).plaintext_bytes) == beginning
    assert read_whole(intact, content_key).startswith(PATTERN)


# Cut short and lengthened.


def interesting_lengths(locked: Path) -> dict[int, str]:
    """Returns lengths to cut a file to, each with the reason for which it is refused."""
    start = payload_offset(locked)
    header = [0, 1, len(MAGIC) - 1, len(MAGIC), len(MAGIC) + 1, PREFIX_BYTES - 1, PREFIX_BYTES, PREFIX_BYTES + 1]
    payload = [start, start + 1, start + STREAM_HEADER_BYTES - 1, start + STREAM_HEADER_BYTES]
    for segment in segments(locked):
        end = start + segment.ciphertext_offset + segment.ciphertext_bytes
        payload += [end - segment.ciphertext_bytes + 1, end - TAG_BYTES - 1, end - TAG_BYTES, end - 1, end, end + 1]
    whole = os.path.getsize(locked)
    return {
        **dict.fromkeys([*header, start // 2, start - 1], "model_malformed"),
        **{length: "model_damaged" for length in payload if length < whole},
    }


def test_cut_short(intact: Path, content_key: bytes, tmp_path: Path) -> None:
    attempt = tmp_path / "attempt.locked"
    attempt.write_bytes(intact.read_bytes())
    for length, reason in sorted(interesting_lengths(intact).items(), reverse=True):
        os.truncate(attempt, length)
        with pytest.raises(CryptorError) as refusal:
            read_whole(attempt, content_key)
        assert refusal.value.reason == reason, length


@pytest.mark.parametrize("size", [1, 1000, 1_044_424, 1_044_425])
def test_cut_short_by_any_of_the_last_bytes(size: int, lock_scene: Scene, content_key: bytes, tmp_path: Path) -> None:
    """The sizes are a byte, a part of a segment, exactly one whole segment, and one byte more."""
    data = lock_pattern(tmp_path / "net.locked", lock_scene.model, size).read_bytes()
    attempt = tmp_path / "attempt.locked"
    attempt.write_bytes(data)
    assert len(read_whole(attempt, content_key)) == size
    for missing in range(1, 40):
        os.truncate(attempt, len(data) - missing)
        with pytest.raises(ModelDamagedError):
            read_whole(attempt, content_key)


@pytest.mark.parametrize("more", [b"\0", b"\n", bytes(TAG_BYTES), bytes(2**20), MAGIC], ids=len)
def test_lengthened(more: bytes, intact: Path, content_key: bytes, tmp_path: Path) -> None:
    assert refused(intact.read_bytes() + more, content_key, tmp_path) == "model_damaged"


def test_two_models_in_one_file(intact: Path, content_key: bytes, tmp_path: Path) -> None:
    assert refused(intact.read_bytes() * 2, content_key, tmp_path) == "model_damaged"


def test_a_file_that_becomes_shorter_while_it_is_read(intact: Path, content_key: bytes, tmp_path: Path) -> None:
    """A copy over a network may still be running; reading it must give an error, and not end the process."""
    attempt = tmp_path / "attempt.locked"
    attempt.write_bytes(intact.read_bytes())
    with LockedModel(attempt, content_key) as model:
        os.truncate(attempt, os.path.getsize(attempt) - 1)
        memory = bytearray(model.file().size)
        with pytest.raises(ModelDamagedError):
            model.file().read_all_into(memoryview(memory))
    assert PATTERN not in memory


# Put together anew. The order of segments is 0, 1, 2; the last one is shorter.

ORDERS: dict[str, list[int]] = {
    "the first two exchanged": [1, 0, 2],
    "the last two exchanged": [0, 2, 1],
    "reversed": [2, 1, 0],
    "the second twice, the first dropped": [1, 1, 2],
    "the second twice, the last dropped": [0, 1, 1],
    "the first dropped": [1, 2],
    "the second dropped": [0, 2],
    "the last dropped": [0, 1],
    "only the last": [2],
    "the second twice": [0, 1, 1, 2],
    "the last twice": [0, 1, 2, 2],
    "all twice": [0, 1, 2, 0, 1, 2],
    "none": [],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_segments_in_another_order(order: list[int], intact: Path, content_key: bytes, tmp_path: Path) -> None:
    beginning, sealed = parts(intact)
    data = beginning + b"".join(sealed[number] for number in order)
    assert refused(data, content_key, tmp_path) == "model_damaged"


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_segments_in_another_order_under_a_header_that_fits(
    order: list[int], intact: Path, content_key: bytes, tmp_path: Path
) -> None:
    beginning, sealed = parts(intact)
    payload = b"".join(sealed[number] for number in order)
    plaintext_bytes = max(1, len(payload) - TAG_BYTES * len(order))
    beginning = with_plaintext_bytes(beginning, intact, plaintext_bytes)
    assert refused(beginning + payload, content_key, tmp_path) == "model_damaged"


def test_a_header_that_fits_reaches_the_segments(intact: Path, content_key: bytes, tmp_path: Path) -> None:
    """The test above shows that associated data refuses only if the lengths agree, as they do here."""
    beginning, sealed = parts(intact)
    plaintext_bytes = sum(map(len, sealed[:2])) - 2 * TAG_BYTES
    data = with_plaintext_bytes(beginning, intact, plaintext_bytes) + sealed[0] + sealed[1]
    attempt = tmp_path / "attempt.locked"
    attempt.write_bytes(data)
    header = read_header(attempt)
    assert (header.plaintext_bytes, header.file_bytes) == (plaintext_bytes, len(data))
    assert Geometry(plaintext_bytes).segment_count == 2


# Segments of other models, at the same place and of the same length.


@pytest.mark.parametrize("number", range(SEGMENT_COUNT))
def test_a_segment_of_another_version_under_the_same_content_key(
    number: int, lock_scene: Scene, intact: Path, content_key: bytes, tmp_path: Path
) -> None:
    """The other container has the same plaintext and the same header, byte for byte; only its salt differs."""
    other = lock_pattern(tmp_path / "net.locked", lock_scene.model)
    assert other.read_bytes()[: payload_offset(other)] == intact.read_bytes()[: payload_offset(intact)]
    beginning, sealed = parts(intact)
    sealed[number] = parts(other)[1][number]
    assert refused(beginning + b"".join(sealed), content_key, tmp_path) == "model_damaged"


def test_a_payload_under_the_header_of_another_model(
    lock_scene: Scene, intact: Path, content_key: bytes, tmp_path: Path
) -> None:
    """Both are encrypted under one content key, and everything but the model id is the same."""
    other_model = replace(lock_scene.model, model_id=lock_scene.models[1].model_id)
    other = lock_pattern(tmp_path / "net.locked", other_model)
    start = payload_offset(intact)
    data = other.read_bytes()[:start] + intact.read_bytes()[start:]
    assert refused(data, content_key, tmp_path) == "model_damaged"
    assert read_whole(other, content_key) == read_whole(intact, content_key)


def test_a_stream_header_of_another_model(lock_scene: Scene, intact: Path, content_key: bytes, tmp_path: Path) -> None:
    other = lock_pattern(tmp_path / "net.locked", lock_scene.model)
    (beginning, _), (_, sealed) = parts(other), parts(intact)
    assert refused(beginning + b"".join(sealed), content_key, tmp_path) == "model_damaged"


@pytest.mark.parametrize("key", [new_content_key, lambda: bytes(32)], ids=["another", "zeros"])
def test_another_content_key(key: Callable[[], bytes], intact: Path, tmp_path: Path) -> None:
    assert refused(intact.read_bytes(), key(), tmp_path) == "key_mismatch"


# Headers that claim what cannot be.


@pytest.mark.parametrize("length", [0, 1, 65537, 2**31, 2**32 - 1])
def test_an_impossible_header_length(length: int, intact: Path, content_key: bytes, tmp_path: Path) -> None:
    data = intact.read_bytes()
    data = data[: len(MAGIC)] + length.to_bytes(4, "big") + data[PREFIX_BYTES:]
    assert refused(data, content_key, tmp_path) == "model_malformed"


@pytest.mark.parametrize("plaintext_bytes", [1, 2**40, 4503530907893720])
def test_a_header_that_claims_another_length(
    plaintext_bytes: int, intact: Path, content_key: bytes, tmp_path: Path
) -> None:
    """The length is compared with the file's before memory for that many bytes or segments is set aside."""
    beginning, sealed = parts(intact)
    data = with_plaintext_bytes(beginning, intact, plaintext_bytes) + b"".join(sealed)
    assert refused(data, content_key, tmp_path) == "model_damaged"


@pytest.mark.parametrize("plaintext_bytes", [0, -1, 4503530907893721, 2**53])
def test_a_header_that_claims_an_impossible_length(plaintext_bytes: int, intact: Path) -> None:
    with pytest.raises(ModelMalformedError):
        replace(read_header(intact), plaintext_bytes=plaintext_bytes).encode()
