"""The time state's file: what parses is authentic, whole, and writes back the same bytes. Section 15.1."""

import hashlib
import hmac
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from licensing.clock_witnesses import TpmClock
from licensing.device_key import create_device_key
from licensing.encoding import b64url_decode, b64url_encode, framed
from licensing.errors import ClockStateInvalidError, LicensingError, StorageError
from licensing.strict_json import canonical
from licensing.time_state import (
    MAX_STATE_BYTES,
    StateKey,
    TimeState,
    TpmRecord,
    read_state,
    read_twin,
    start_state,
    state_path,
    twin_path,
    write_state,
)
from tests.clocked_box import ClockedBox, TpmStandIn
from tests.lock_scene import MACHINE, NOW, Scene

DEVICE = "_Xh8M9nV7bq3m2P5r0sT1uW4yZ6aB8cD9eF0gH1iJ2k"
KEY = StateKey(DEVICE, bytes(range(32)))
IDS = tuple(f"{number:08x}-1111-4222-8333-444444444444" for number in range(1000))
VENDORS = tuple(b64url_encode(bytes([number]) * 32) for number in range(64))

STATES = {
    "new": TimeState(DEVICE, 1, 2),
    "everything": TimeState(DEVICE, 0, 253402300799, 5, IDS[:2], VENDORS[:2], TpmRecord(7, 2**53 - 1, 0, 2**32 - 1)),
    "full": TimeState(DEVICE, 0, 1, None, IDS, VENDORS),
}


def authenticated(members: dict[str, Any], key: StateKey = KEY) -> bytes:
    """Returns a file with these members, made without the code under test."""
    text = canonical(members)
    mac = hmac.new(key.key, text, hashlib.sha256).digest()
    return canonical({"mac": b64url_encode(mac), "state": members})


def refused(data: bytes, key: StateKey = KEY) -> str:
    with pytest.raises(ClockStateInvalidError) as refusal:
        TimeState.parse(data, key)
    assert refusal.value.hints
    return refusal.value.message


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_what_is_written_reads_back_byte_for_byte(state: TimeState) -> None:
    data = state.to_bytes(KEY)
    assert len(data) <= MAX_STATE_BYTES
    assert TimeState.parse(data, KEY) == state
    assert TimeState.parse(data, KEY).to_bytes(KEY) == data
    assert data == authenticated(json.loads(data)["state"])


def test_the_key_is_hkdf_of_the_private_exponent(lock_scene: Scene) -> None:
    key = lock_scene.box.device_key
    exponent = key._private_key.private_numbers().d
    pseudo_random_key = hmac.new(bytes(32), exponent.to_bytes(384, "big").lstrip(b"\0"), hashlib.sha256).digest()
    info = framed(b"weightlock/1/device/authentication", b"time-state")
    assert StateKey.of(key).key == hmac.new(pseudo_random_key, info + b"\x01", hashlib.sha256).digest()
    assert key.authentication_key("time-state") != key.authentication_key("another purpose")
    assert key.authentication_key("time-state") != lock_scene.stranger.device_key.authentication_key("time-state")
    assert StateKey.of(key).key.hex() not in repr(StateKey.of(key))
    assert repr(StateKey.of(key).key) not in repr(StateKey.of(key))


def test_every_changed_byte_is_refused() -> None:
    data = STATES["everything"].to_bytes(KEY)
    for position in range(len(data)):
        refused(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])


def test_what_is_cut_appended_to_or_another_keys_is_refused() -> None:
    data = STATES["everything"].to_bytes(KEY)
    for length in range(0, len(data), 7):
        refused(data[:length])
    for wrong in (data + b"\n", b" " + data, data + data, data.ljust(MAX_STATE_BYTES + 1)):
        refused(wrong)
    refused(data, StateKey(DEVICE, bytes(32)))
    assert refused(data, StateKey("A" + DEVICE[1:], KEY.key)) == "the time state is that of another device key"


BAD: dict[str, dict[str, Any]] = {
    "another version": {"ver": 2},
    "no version": {"ver": None},
    "true is no version": {"ver": True},
    "unknown member": {"later": 1},
    "no highest": {"highest": None},
    "highest below 0": {"highest": -1},
    "highest after the year 9999": {"highest": 253402300800},
    "highest is text": {"highest": "1"},
    "created is missing": {"created": None},
    "provisional is true": {"provisional": True},
    "a device that is no thumbprint": {"device": "x"},
    "resets are missing": {"resets": None},
    "resets that are no ids": {"resets": ["x"]},
    "an id twice": {"resets": [IDS[0], IDS[0]]},
    "too many ids": {"resets": [*IDS, "00000000-1111-4222-8333-555555555555"]},
    "a vendor that is no thumbprint": {"reset_by": ["x"]},
    "a vendor twice": {"reset_by": [VENDORS[0], VENDORS[0]]},
    "too many vendors": {"reset_by": [*VENDORS, b64url_encode(b"\xff" * 32)]},
    "a TPM that is no object": {"tpm": 1},
    "a TPM without a clock": {"tpm": {"at": 1, "resets": 0, "restarts": 0}},
    "a TPM with more": {"tpm": {"at": 1, "clock": 1, "resets": 0, "restarts": 0, "safe": True}},
    "a TPM's count too large": {"tpm": {"at": 1, "clock": 1, "resets": 2**32, "restarts": 0}},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_an_authentic_file_that_breaks_a_rule_is_refused(change: dict[str, Any]) -> None:
    good = json.loads(STATES["new"].to_bytes(KEY))["state"]
    TimeState.parse(authenticated(good), KEY)
    bad = {name: value for name, value in {**good, **change}.items() if value is not None}
    refused(authenticated(bad))


@pytest.mark.parametrize(
    "make",
    [
        lambda outer: {**outer, "more": 1},
        lambda outer: {"state": outer["state"]},
        lambda outer: {**outer, "mac": outer["mac"][:-1]},
        lambda outer: {**outer, "mac": ""},
        lambda outer: {**outer, "mac": outer["mac"] + "="},
        lambda outer: {**outer, "mac": "ö" * 43},
        lambda outer: {**outer, "state": []},
        lambda outer: [],
    ],
)
def test_the_outer_object(make: Callable[[dict[str, Any]], Any]) -> None:
    refused(canonical(make(json.loads(STATES["new"].to_bytes(KEY)))))


def test_a_longer_mac_that_begins_right_is_refused() -> None:
    outer = json.loads(STATES["new"].to_bytes(KEY))
    outer["mac"] = b64url_encode(b64url_decode(outer["mac"])[:30])
    refused(canonical(outer))


# Files.


def test_the_state_begins_with_the_device_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTLOCK_STATE", str(tmp_path / "state"))
    device_key = create_device_key(tmp_path / "home", MACHINE, now=NOW)
    key, now = StateKey.of(device_key), int(NOW.timestamp())
    assert read_state(tmp_path / "home", key) == TimeState(device_key.thumbprint, now, now)
    twin = twin_path(device_key.thumbprint)
    assert twin == tmp_path / "state" / f"{device_key.thumbprint}.json"
    assert twin.read_bytes() == state_path(tmp_path / "home").read_bytes()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (twin, twin.parent)] == [0o600, 0o700]
    assert stat.S_IMODE(state_path(tmp_path / "home").stat().st_mode) == 0o600


def test_the_state_is_there_before_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key without a state could never be used, and its owner would have done nothing wrong."""
    from licensing import device_key as device_key_module

    def interrupted(*arguments: Any, **options: Any) -> None:
        assert state_path(tmp_path).exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(device_key_module, "write_new_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            create_device_key(tmp_path, MACHINE)
    key = create_device_key(tmp_path, MACHINE)
    assert read_state(tmp_path, StateKey.of(key)).device == key.thumbprint


def test_a_key_that_is_there_gets_no_other_state(clocked_box: ClockedBox) -> None:
    """Otherwise deleting the state and making a request again would be a way around it."""
    clocked_box.state_file.unlink()
    with pytest.raises(LicensingError):
        create_device_key(clocked_box.home, MACHINE)
    assert not clocked_box.state_file.exists()


def test_an_old_state_stays_with_the_old_key(clocked_box: ClockedBox) -> None:
    before = clocked_box.state_file.read_bytes()
    create_device_key(clocked_box.home, MACHINE, replace=True)
    assert clocked_box.state_file.with_name("time-state.json.old-1").read_bytes() == before


def test_a_tpm_s_clock_is_recorded_from_the_beginning(lock_scene: Scene, tmp_path: Path) -> None:
    key = TpmStandIn(lock_scene.same_hardware.device_key, TpmClock(5, 6, 7, True))
    start_state(tmp_path, key, NOW)
    assert read_state(tmp_path, StateKey.of(key)).tpm == TpmRecord(int(NOW.timestamp()), 5, 6, 7)


def test_a_file_that_cannot_be_read_or_written(clocked_box: ClockedBox, tmp_path: Path) -> None:
    clocked_box.state_file.unlink()
    clocked_box.state_file.mkdir()
    with pytest.raises(LicensingError) as refusal:
        read_state(clocked_box.home, clocked_box.key)
    assert refusal.value.reason == "not_a_file"
    with pytest.raises(LicensingError) as refusal:
        write_state(clocked_box.home, tmp_path / "twin", STATES["new"], clocked_box.key)
    assert refusal.value.reason == "clock_state_unwritable"
    assert not (tmp_path / "twin").exists()
    with pytest.raises(StorageError):
        start_state(tmp_path / "nowhere", clocked_box.scene.box.device_key, NOW)


def test_a_twin_of_another_device_is_no_evidence(clocked_box: ClockedBox) -> None:
    assert read_twin(clocked_box.twin, clocked_box.key) == clocked_box.state
    assert read_twin(clocked_box.twin, replace(clocked_box.key, key=bytes(32))) is None
    assert read_twin(clocked_box.home, clocked_box.key) is None
