"""Replacing a device key: no key is ever lost, whatever fails and however many processes are at it."""

import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from licensing import device_key as device_key_module
from licensing.device_key import create_device_key, device_key_path, open_device_key
from licensing.errors import DeviceKeyExistsError, LicensingError, StorageError
from licensing.time_state import StateKey, read_state
from tests.lock_scene import MACHINE, OTHER_MACHINE, Scene


@pytest.mark.usefixtures("quick_keys")
def test_a_key_that_is_there_is_never_overwritten(copied_home: Path) -> None:
    before = device_key_path(copied_home).read_bytes()
    for machine in (MACHINE, OTHER_MACHINE):
        with pytest.raises(DeviceKeyExistsError) as refusal:
            create_device_key(copied_home, machine)
        assert refusal.value.reason == "device_key_exists"
    assert device_key_path(copied_home).read_bytes() == before
    assert os.listdir(copied_home) == ["device-key.pem"]


@pytest.mark.usefixtures("quick_keys")
def test_replacing_keeps_every_old_key(copied_home: Path) -> None:
    keys = [device_key_path(copied_home).read_bytes()]
    for _ in range(3):
        create_device_key(copied_home, MACHINE, replace=True)
        keys.append(device_key_path(copied_home).read_bytes())
    assert len(set(keys)) == 4
    kept = [(copied_home / f"device-key.pem.old-{number}").read_bytes() for number in (1, 2, 3)]
    assert [*kept, device_key_path(copied_home).read_bytes()] == keys
    assert len(list(copied_home.glob("device-key.pem*"))) == 4
    assert stat.S_IMODE((copied_home / "device-key.pem.old-3").stat().st_mode) == 0o600


@pytest.mark.usefixtures("quick_keys")
def test_replacing_where_there_is_none_makes_one(tmp_path: Path) -> None:
    create_device_key(tmp_path / "home", MACHINE, replace=True)
    assert sorted(os.listdir(tmp_path / "home")) == ["device-key.pem", "time-state.json"]


@pytest.mark.usefixtures("quick_keys")
@pytest.mark.parametrize("error", [StorageError("full", reason="storage_full"), KeyboardInterrupt()])
def test_the_old_key_stays_in_its_place_if_the_new_one_cannot_be_written(
    error: BaseException, copied_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no moment is the box without a device key, or a license would stop working for want of disk space."""

    def fail(*arguments: Any, **options: Any) -> None:
        assert device_key_path(copied_home).read_bytes() == before
        raise error

    before = device_key_path(copied_home).read_bytes()
    monkeypatch.setattr(device_key_module, "write_new_file", fail)
    with pytest.raises(type(error)):
        create_device_key(copied_home, MACHINE, replace=True)
    assert device_key_path(copied_home).read_bytes() == before


@pytest.mark.usefixtures("quick_keys")
def test_a_home_that_cannot_be_made_or_written(tmp_path: Path, closed_directory: Path) -> None:
    for replace in (False, True):
        with pytest.raises(StorageError) as refusal:
            create_device_key(closed_directory / "home", MACHINE, replace)
        assert refusal.value.reason == "storage_failed"


# Several processes at once.


@pytest.fixture(scope="module")
def keys() -> list[rsa.RSAPrivateKey]:
    """Returns a key for each process, made beforehand, so that the processes meet where they write."""
    return [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(4)]


def create_at_once(home: Path, replace: bool, key: rsa.RSAPrivateKey, together: Any, outcomes: Any) -> None:
    def generate(**options: Any) -> rsa.RSAPrivateKey:
        together.wait(60)
        return key

    rsa.generate_private_key = generate  # type: ignore[assignment]  # This process is made for this call alone.
    try:
        outcomes.put(create_device_key(home, MACHINE, replace).thumbprint)
    except LicensingError as error:
        outcomes.put(error.reason)


def race(home: Path, replace: bool, keys: list[rsa.RSAPrivateKey]) -> list[str]:
    """Returns what processes got that all made a key at the same moment: its thumbprint, or the reason of a refusal."""
    context = multiprocessing.get_context("fork")
    together, outcomes = context.Barrier(len(keys)), context.Queue()
    workers = [context.Process(target=create_at_once, args=(home, replace, key, together, outcomes)) for key in keys]
    for worker in workers:
        worker.start()
    found = [outcomes.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    return found


def test_of_several_processes_exactly_one_makes_the_key(tmp_path: Path, keys: list[rsa.RSAPrivateKey]) -> None:
    outcomes = race(tmp_path / "home", False, keys)
    key = open_device_key(tmp_path / "home", MACHINE)
    made = key.thumbprint
    assert read_state(tmp_path / "home", StateKey.of(key)).device == made
    assert sorted(outcomes) == sorted([made, *["device_key_exists"] * 3])
    assert sorted(os.listdir(tmp_path / "home")) == ["device-key.pem", "time-state.json"]


def test_no_key_is_lost_when_several_processes_replace_it(
    copied_home: Path, keys: list[rsa.RSAPrivateKey], lock_scene: Scene, tmp_path: Path
) -> None:
    """Each process may have sent a request with its key already when the next one sets that key aside."""
    outcomes = race(copied_home, True, keys)
    kept = []
    key = open_device_key(copied_home, MACHINE)
    assert read_state(copied_home, StateKey.of(key)).device == key.thumbprint
    for file in copied_home.glob("device-key.pem*"):
        device_key_path(tmp_path).write_bytes(file.read_bytes())
        kept.append(open_device_key(tmp_path, MACHINE).thumbprint)
    assert sorted(kept) == sorted([*outcomes, lock_scene.box.device_key.thumbprint])
