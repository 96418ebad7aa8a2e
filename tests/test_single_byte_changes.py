"""Every single-byte change of every file: always the right typed error, and never a key or plaintext.

The license under test has one slot and one model, so that each of its bytes matters: a grant for a slot or a model that
is not in use is not read, and a change in it cannot be noticed here.
"""

import os
import random
import string
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from safetensors.numpy import save_file

from cryptors import CryptorFactory, load_model
from cryptors.keys import KeySource
from cryptors.stream import STREAM_HEADER_BYTES, TAG_BYTES
from licensing import unlock
from licensing.device_key import DeviceKey
from licensing.errors import WeightlockError
from licensing.jwk import thumbprint
from licensing.request import read_request
from licensing.trust import TrustedKeys
from tests.lock_scene import NOW, Scene
from tests.locked_models import PATTERN, SEGMENT_COUNT, lock_pattern, payload_offset, read_whole, segments

Change = Callable[[int], int]

_RANDOM = random.Random(20260701)


def another_printable(byte: int) -> int:
    """Returns another printable ASCII character; the sequence is the same in every run."""
    return _RANDOM.choice([each for each in string.printable.encode() if each != byte])


CHANGES: dict[str, Change] = {
    "lowest bit": lambda byte: byte ^ 0x01,
    "highest bit": lambda byte: byte ^ 0x80,
    "another printable": another_printable,
}

each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


def refusals(
    path: Path, change: Change, use: Callable[[], object], positions: Iterable[int] | None = None
) -> Counter[str]:
    """Changes one byte of a file after the other, and returns how many changes gave which reason.

    A change that nothing notices, or that gives any other error, fails the test. The file is intact afterwards.
    """
    reasons: Counter[str] = Counter()
    data = path.read_bytes()
    with open(path, "r+b") as file:
        for position in range(len(data)) if positions is None else positions:
            byte = change(data[position])
            os.pwrite(file.fileno(), bytes([byte]), position)
            try:
                use()
            except WeightlockError as error:
                reasons[error.reason] += 1
            except Exception as error:
                raise AssertionError(f"byte {position} of {len(data)}, changed to {byte:#x}") from error
            else:
                pytest.fail(f"byte {position} of {len(data)} was changed to {byte:#x}, and nothing noticed")
            os.pwrite(file.fileno(), data[position : position + 1], position)
    assert path.read_bytes() == data
    return reasons


@pytest.fixture
def quick_device_key(lock_scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opens the device key once for all unlocks of a test: its file is not what changes."""
    monkeypatch.setattr(unlock, "open_device_key", lambda home, machine: lock_scene.box.device_key)


@each_change
@pytest.mark.usefixtures("quick_device_key")
def test_license(change: Change, lock_scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "acme.lic"
    path.write_bytes(lock_scene.issue())
    assert lock_scene.unlock(path).content_key == lock_scene.model.content_key
    reasons = refusals(path, change, lambda: lock_scene.unlock(path))
    assert set(reasons) <= {"license_malformed", "untrusted_vendor", "signature_invalid", "grant_invalid"}
    if change is not CHANGES["highest bit"]:  # That one leaves no text, so that nothing of it is parsed.
        assert len(reasons) == 4


@each_change
def test_license_request(change: Change, lock_scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "acme.req"
    path.write_bytes(lock_scene.box.request())
    assert read_request(path.read_bytes()).thumbprint == lock_scene.box.device_key.thumbprint
    reasons = refusals(path, change, lambda: read_request(path.read_bytes()))
    assert set(reasons) <= {"request_malformed", "signature_invalid"}
    if change is not CHANGES["highest bit"]:
        assert len(reasons) == 2


@each_change
def test_trust_file(change: Change, lock_scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "trust.jwks"
    private_keys = lock_scene.signing_key, ec.generate_private_key(ec.SECP256R1()), lock_scene.box.device_key
    keys = [key.public_key if isinstance(key, DeviceKey) else key.public_key() for key in private_keys]
    path.write_bytes(TrustedKeys({thumbprint(key): key for key in keys}).to_bytes())
    assert len(TrustedKeys.read(path).keys) == 3
    assert set(refusals(path, change, lambda: TrustedKeys.read(path))) == {"trust_malformed"}


@each_change
def test_header_of_a_locked_model_with_the_content_key(change: Change, lock_scene: Scene, tmp_path: Path) -> None:
    locked, content_key = lock_pattern(tmp_path / "net.locked", lock_scene.model, 1000), lock_scene.model.content_key
    assert read_whole(locked, content_key).startswith(PATTERN)
    header = range(payload_offset(locked))
    reasons = refusals(locked, change, lambda: read_whole(locked, content_key), header)
    assert set(reasons) <= {"model_malformed", "model_damaged", "key_mismatch"}
    if change is not CHANGES["highest bit"]:
        assert len(reasons) == 3


@each_change
@pytest.mark.usefixtures("quick_device_key")
def test_header_of_a_locked_model_with_a_license(change: Change, lock_scene: Scene, tmp_path: Path) -> None:
    """A header with another model id or key id is that of a model that the license does not name."""
    license, locked = tmp_path / "acme.lic", lock_pattern(tmp_path / "net.locked", lock_scene.model, 1000)
    license.write_bytes(lock_scene.issue())
    keys = KeySource(license=license, home=lock_scene.box.home, hardware=lock_scene.box.hardware, now=NOW)
    assert read_whole(locked, keys.content_key(locked)).startswith(PATTERN)
    header = range(payload_offset(locked))
    reasons = refusals(locked, change, lambda: read_whole(locked, keys.content_key(locked)), header)
    assert set(reasons) <= {"model_malformed", "model_damaged", "model_not_licensed"}
    if change is not CHANGES["highest bit"]:
        assert len(reasons) == 3


# The payload.


def sampled_positions(locked: Path) -> list[int]:
    """Returns the stream header's positions, and of each segment the first, a middle and the last of text and tag."""
    start = payload_offset(locked)
    positions = list(range(start, start + STREAM_HEADER_BYTES))
    for segment in segments(locked):
        text = start + segment.ciphertext_offset
        tag = text + segment.plaintext_bytes
        positions += [text, text + segment.plaintext_bytes // 2, tag - 1]
        positions += [tag, tag + TAG_BYTES // 2, tag + TAG_BYTES - 1]
    return positions


@each_change
def test_payload_of_several_segments(change: Change, lock_scene: Scene, tmp_path: Path) -> None:
    locked, content_key = lock_pattern(tmp_path / "net.locked", lock_scene.model), lock_scene.model.content_key
    assert len(segments(locked)) == SEGMENT_COUNT
    assert read_whole(locked, content_key).startswith(PATTERN)
    positions = sampled_positions(locked)
    reasons = refusals(locked, change, lambda: read_whole(locked, content_key), positions)
    assert reasons == {"model_damaged": len(positions)}


@pytest.mark.parametrize("number", range(SEGMENT_COUNT))
def test_a_framework_gets_no_tensor_of_a_model_with_a_changed_segment(
    number: int, lock_scene: Scene, tmp_path: Path
) -> None:
    """Safetensors would accept every one of these changes: none of them is in its own header."""
    plain, locked, content_key = tmp_path / "net.safetensors", tmp_path / "net.locked", lock_scene.model.content_key
    save_file({"weight": numpy.arange(550_000, dtype=numpy.float32)}, plain)
    CryptorFactory.instance("safetensors").encrypt(plain, content_key, locked)
    segment = segments(locked)[number]
    position = payload_offset(locked) + segment.ciphertext_offset + segment.plaintext_bytes - 1

    def load() -> Any:
        return load_model(locked, crypt_key=content_key, framework="np")

    assert load()["weight"][-1] == 549_999
    assert refusals(locked, CHANGES["lowest bit"], load, [position]) == {"model_damaged": 1}
