"""Key derivation against hashlib and hmac alone, and how it depends on each of its inputs."""

import hashlib
import hmac

import pytest

from licensing.content_key import key_id
from licensing.errors import GrantInvalidError
from licensing.key_derivation import derive_kek, hardware_salt, slot_digest, unwrap_grant, wrap_grant

SECRET, SALT = bytes(range(32)), bytes(range(16))
FINGERPRINT = "5c" * 32
GPU = "GPU-0f5a7c52-29a1-4d3b-9b7e-0d5c3f9a1b2c"
L = "eyJ.eyJ.c2ln"
MODEL, KEY_ID, SLOT = "7b3959d8-24e1-4f26-80c3-57c084d417de", "ac78cdacc3c9ec0d80005c4d00f80485", "slot-1"
CONTENT_KEY = hashlib.sha256(b"a content key").digest()


def framed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 for 32 bytes: one block."""
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\x01", "sha256")


def test_slot_digest() -> None:
    expected = hashlib.sha256(framed(b"weightlock/1/slot", SALT, b"gpu", GPU.encode())).digest()
    assert slot_digest(SALT, "gpu", GPU) == expected


def test_hardware_salt() -> None:
    expected = hashlib.sha256(framed(b"weightlock/1/hardware", FINGERPRINT.encode(), GPU.encode())).digest()
    assert hardware_salt(FINGERPRINT, GPU) == expected
    alone = hashlib.sha256(framed(b"weightlock/1/hardware", FINGERPRINT.encode(), b"")).digest()
    assert hardware_salt(FINGERPRINT, "") == alone


def test_key_encryption_key() -> None:
    digest = hashlib.sha256(L.encode()).digest()
    info = framed(b"weightlock/1/kek", digest, MODEL.encode(), KEY_ID.encode(), SLOT.encode())
    assert derive_kek(SECRET, SALT, L, MODEL, KEY_ID, SLOT) == hkdf_sha256(SECRET, SALT, info)


INPUTS: dict[str, object] = {
    "secret": bytes(32),
    "salt": bytes(16),
    "license_text": "eyJ.eyJ.c2lo",
    "model_id": MODEL[:-1] + "f",
    "key_id": KEY_ID[:-1] + "6",
    "slot_id": "slot-2",
}


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_changes_the_key(name: str) -> None:
    inputs: dict[str, object] = {
        "secret": SECRET,
        "salt": SALT,
        "license_text": L,
        "model_id": MODEL,
        "key_id": KEY_ID,
        "slot_id": SLOT,
    }
    changed = {**inputs, name: INPUTS[name]}
    assert derive_kek(**changed) != derive_kek(**inputs)  # type: ignore[arg-type]


def test_no_input_can_stand_for_part_of_another() -> None:
    keys = [derive_kek(SECRET, SALT, L, *ids) for ids in (("ab", "c", "d"), ("a", "bc", "d"), ("abc", "d", ""))]
    assert len(set(keys)) == 3
    digests = [
        slot_digest(SALT, "machine", "gpu"),
        slot_digest(SALT, "machineg", "pu"),
        slot_digest(SALT, "gpu", "machine"),
    ]
    assert len(set(digests)) == 3
    assert (
        hardware_salt(FINGERPRINT, GPU) != hardware_salt(FINGERPRINT + GPU, "") != hardware_salt("", FINGERPRINT + GPU)
    )


def test_the_grant_is_the_example_of_rfc_3394() -> None:
    """Section 4.6: 256 bits of key data, wrapped with a key of 256 bits."""
    kek, data = bytes(range(32)), bytes.fromhex("00112233445566778899aabbccddeeff") + bytes(range(16))
    wrapped = bytes.fromhex("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21")
    assert wrap_grant(kek, data) == wrapped
    assert unwrap_grant(kek, wrapped, key_id(data)) == data


def test_every_changed_bit_of_a_grant_is_refused() -> None:
    kek = derive_kek(SECRET, SALT, L, MODEL, KEY_ID, SLOT)
    grant = wrap_grant(kek, CONTENT_KEY)
    assert unwrap_grant(kek, grant, key_id(CONTENT_KEY)) == CONTENT_KEY
    for bit in range(8 * len(grant)):
        changed = (int.from_bytes(grant, "big") ^ 1 << bit).to_bytes(len(grant), "big")
        with pytest.raises(GrantInvalidError):
            unwrap_grant(kek, changed, key_id(CONTENT_KEY))


def test_every_refusal_of_a_grant_says_the_same() -> None:
    """What the unwrapping found must not show: not even whether it was the key or the grant."""
    kek, right = bytes(32), key_id(CONTENT_KEY)
    grant = wrap_grant(kek, CONTENT_KEY)
    attempts = [
        (bytes(31) + b"\x01", grant, right),
        (kek, bytes(40), right),
        (kek, b"", right),
        (kek, grant[:-1], right),
        (kek, grant[:-8], right),
        (kek, grant + bytes(8), right),
        (kek, wrap_grant(kek, bytes(32)), right),
        (kek, wrap_grant(kek, CONTENT_KEY + bytes(8)), right),
        (kek, grant, key_id(bytes(32))),
    ]
    messages = set()
    for attempt in attempts:
        with pytest.raises(GrantInvalidError) as refusal:
            unwrap_grant(*attempt)
        assert refusal.value.reason == "grant_invalid"
        messages.add((refusal.value.message, refusal.value.hints))
    assert len(messages) == 1
