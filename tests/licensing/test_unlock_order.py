"""Unlocking: the order of the steps, and the form of what they say."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from licensing.errors import LicensingError
from licensing.gpus import GpuReading
from licensing.hardware import Hardware
from tests.lock_attacks import grants_of, with_grants
from tests.lock_scene import MACHINE, NOW, OTHER_GPU, Scene, signed_again


def refused(call: Callable[[], object]) -> LicensingError:
    with pytest.raises(LicensingError) as refusal:
        call()
    return refusal.value


def test_the_first_step_that_fails_is_the_one_that_speaks(lock_scene: Scene, tmp_path: Path) -> None:
    """Everything is wrong at first, and is put right step after step."""
    scene, path, home = lock_scene, tmp_path / "acme.lic", tmp_path / "home"
    home.mkdir()
    trust, device_key = home / "trust.jwks", home / "device-key.pem"
    right_trust = (scene.box.home / "trust.jwks").read_bytes()
    now = NOW + timedelta(days=100)
    wrong: dict[str, Any] = {"home": home, "hardware": scene.stranger.hardware, "now": now, "model_id": "another"}
    good = scene.issue()
    mixed = with_grants(good, *grants_of(scene.issue()))
    later = signed_again(good, scene.signing_key, ver=2)
    stranger = signed_again(good, scene.stranger_signing_key)
    edited = signed_again(good, iss="Somebody else")

    def write(target: Path, data: bytes) -> Callable[[], object]:
        return lambda: target.write_bytes(data)

    def correct(**changes: Any) -> Callable[[], object]:
        return lambda: wrong.update(changes)

    steps: list[tuple[Callable[[], object], str]] = [
        (lambda: None, "file_not_found"),
        (write(path, b"{}"), "license_malformed"),
        (write(path, stranger), "trust_missing"),
        (write(trust, b"{}"), "trust_malformed"),
        (write(trust, right_trust), "untrusted_vendor"),
        (write(path, edited), "signature_invalid"),
        (write(path, later), "license_unsupported"),
        (
            write(path, with_grants(good, *grants_of(good), {**grants_of(good)[0], "slot": "slot-2"})),
            "license_malformed",
        ),
        (write(path, mixed), "expired"),
        (correct(now=NOW - timedelta(days=100)), "not_yet_valid"),
        (correct(now=NOW), "model_not_licensed"),
        (correct(model_id=scene.model.model_id), "machine_mismatch"),
        (correct(hardware=Hardware(MACHINE, GpuReading((OTHER_GPU,), "580", ("GPU 0 is lost",)))), "gpu_unreadable"),
        (correct(hardware=Hardware(MACHINE, GpuReading((OTHER_GPU,), "580"))), "gpu_mismatch"),
        (correct(hardware=scene.box.hardware), "device_key_missing"),
        (write(device_key, b"damaged"), "device_key_mismatch"),
        (write(device_key, (scene.same_hardware.home / "device-key.pem").read_bytes()), "device_key_mismatch"),
        (write(device_key, (scene.box.home / "device-key.pem").read_bytes()), "grant_invalid"),
    ]
    for put_right, reason in steps:
        put_right()
        assert refused(lambda: scene.unlock(path, **wrong)).reason == reason
    path.write_bytes(good)
    assert scene.unlock(path, **wrong).content_key == scene.model.content_key


def test_every_refusal_is_a_sentence_without_a_full_stop(lock_scene: Scene, tmp_path: Path) -> None:
    license = tmp_path / "acme.lic"
    license.write_bytes(lock_scene.issue())
    wrong: list[dict[str, Any]] = [
        {"now": NOW + timedelta(days=100)},
        {"now": NOW - timedelta(days=100)},
        {"model_id": "another"},
        {"key_id": "another"},
        {"hardware": lock_scene.stranger.hardware},
        {"hardware": lock_scene.box.with_gpus().hardware},
        {"home": lock_scene.same_hardware.home},
        {"home": tmp_path},
        {"trust": tmp_path / "nowhere"},
        {"trust": license},
    ]
    for change in wrong:
        error = refused(lambda change=change: lock_scene.unlock(license, **change))  # type: ignore[misc]
        assert error.message[0].islower()
        assert not error.message.endswith(".")
        assert "\n" not in error.message
        assert all(hint and not hint.endswith(".") for hint in error.hints)


def test_a_file_that_is_no_license_is_refused_by_what_it_is(lock_scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(lock_scene.box.request())
    error = refused(lambda: lock_scene.unlock(path))
    assert (error.reason, error.message) == ("license_malformed", "the file is not a license")
    error = refused(lambda: lock_scene.unlock(tmp_path))
    assert error.reason == "not_a_file"
    path.write_text(json.dumps({"license": "a.b.c", "grants": []}))
    assert refused(lambda: lock_scene.unlock(path)).reason == "license_malformed"
