"""Unlocking: each step's refusal with its reason and its sentence, in the order of the steps."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from licensing import unlock as unlock_module
from licensing.errors import LicensingError
from licensing.gpus import GpuReading
from licensing.hardware import Hardware
from licensing.unlock import unlock
from tests.lock_scene import GPU, NOW, OTHER_GPU, OTHER_MACHINE, Scene, signed_again

SECOND = timedelta(seconds=1)


@pytest.fixture
def license(lock_scene: Scene, tmp_path: Path) -> Path:
    path = tmp_path / "acme.lic"
    path.write_bytes(lock_scene.issue())
    return path


def refused(call: Callable[[], object]) -> LicensingError:
    with pytest.raises(LicensingError) as refusal:
        call()
    return refusal.value


# What comes out.


def test_the_licensed_box_gets_the_key_and_what_was_matched(license: Path, lock_scene: Scene) -> None:
    unlocked = lock_scene.unlock(license)
    assert unlocked.content_key == lock_scene.model.content_key
    assert (unlocked.matched.gpu, unlocked.matched.slot.slot_id, unlocked.tier) == (GPU, "slot-1", "software")
    assert unlocked.license.customer == "Acme"


def test_what_comes_out_does_not_show_the_key(license: Path, lock_scene: Scene) -> None:
    unlocked = lock_scene.unlock(license)
    assert repr(unlocked.content_key) not in repr(unlocked)
    assert unlocked.content_key.hex() not in repr(unlocked)


def test_paths_may_be_text(license: Path, lock_scene: Scene) -> None:
    home = lock_scene.box.home
    unlocked = lock_scene.unlock(str(license), home=str(home), trust=str(home / "trust.jwks"))  # type: ignore[arg-type]
    assert unlocked.content_key == lock_scene.model.content_key


def test_by_default_home_hardware_and_time_are_those_of_this_box(
    lock_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The license is for the real now, and the hardware's probes are the only thing that is replaced."""
    model, path = lock_scene.model, tmp_path / "acme.lic"
    yesterday, far = datetime.now(timezone.utc) - timedelta(days=1), datetime(2999, 1, 1, tzinfo=timezone.utc)
    path.write_bytes(lock_scene.issue(not_before=yesterday, expires=far))
    monkeypatch.setenv("WEIGHTLOCK_HOME", str(lock_scene.box.home))
    monkeypatch.setattr(unlock_module, "read_hardware", lambda: lock_scene.box.hardware)
    assert unlock(path, model.model_id, model.key_id).content_key == model.content_key
    monkeypatch.setattr(unlock_module, "read_hardware", lambda: lock_scene.stranger.hardware)
    assert refused(lambda: unlock(path, model.model_id, model.key_id)).reason == "machine_mismatch"


def test_hardware_is_measured_only_if_the_license_can_hold(
    license: Path, lock_scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probing GPUs takes time, and a driver that hangs should not hide that the license has ended."""

    def fail() -> Hardware:
        raise AssertionError("measured")

    monkeypatch.setattr(unlock_module, "read_hardware", fail)
    later = NOW + timedelta(days=31)
    assert refused(lambda: lock_scene.unlock(license, hardware=None, now=later)).reason == "expired"


# Step 5: time, to the second.


@pytest.mark.parametrize("microseconds", [0, 1, 999_999])
def test_a_license_holds_from_its_first_second_until_its_end(
    microseconds: int, license: Path, lock_scene: Scene
) -> None:
    begin, end = NOW - timedelta(hours=1), NOW + timedelta(days=30)
    fraction = timedelta(microseconds=microseconds)
    for inside in (begin + fraction, NOW + fraction, end - SECOND + fraction):
        assert lock_scene.unlock(license, now=inside).content_key == lock_scene.model.content_key
    assert refused(lambda: lock_scene.unlock(license, now=begin - SECOND + fraction)).reason == "not_yet_valid"
    assert refused(lambda: lock_scene.unlock(license, now=end + fraction)).reason == "expired"


def test_the_zone_of_the_clock_does_not_matter(license: Path, lock_scene: Scene) -> None:
    end = NOW + timedelta(days=30)
    for hours in (-12, 0, 5.75, 14):
        zone = timezone(timedelta(hours=hours))
        lock_scene.unlock(license, now=(end - SECOND).astimezone(zone))
        assert refused(lambda zone=zone: lock_scene.unlock(license, now=end.astimezone(zone))).reason == "expired"  # type: ignore[misc]


def test_a_time_without_a_zone_is_wrong_usage(license: Path, lock_scene: Scene) -> None:
    error = refused(lambda: lock_scene.unlock(license, now=NOW.replace(tzinfo=None)))
    assert (error.reason, error.message) == ("usage", "the time has no time zone")


@pytest.fixture
def new_york() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "EST5EDT,M3.2.0,M11.1.0"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("new_york")
def test_times_are_said_in_the_readers_zone(license: Path, lock_scene: Scene) -> None:
    error = refused(lambda: lock_scene.unlock(license, now=NOW + timedelta(days=40)))
    assert error.message == "the license ended at 2026-07-31 08:00 EDT (UTC-04:00)"
    error = refused(lambda: lock_scene.unlock(license, now=NOW - timedelta(days=180)))
    assert error.message == (
        "the license begins at 2026-07-01 07:00 EDT (UTC-04:00), "
        "and the clock of this machine says 2026-01-02 07:00 EST (UTC-05:00)"
    )
    assert error.hints == ("check the clock of this machine",)


# Step 6: the model.


def test_another_model_or_another_key_is_not_licensed(license: Path, lock_scene: Scene) -> None:
    model, other = lock_scene.models
    error = refused(lambda: lock_scene.unlock(license, model_id=other.model_id, key_id=other.key_id))
    assert (error.reason, error.message) == ("model_not_licensed", "the license does not name this model")
    assert "'resnet18'" in error.hints[0]
    error = refused(lambda: lock_scene.unlock(license, key_id=other.key_id))
    assert (error.reason, "encrypted again" in error.message) == ("model_not_licensed", True)
    for name in ("", model.model_id.upper(), "*"):
        assert refused(lambda name=name: lock_scene.unlock(license, model_id=name)).reason == "model_not_licensed"  # type: ignore[misc]


# Step 7: hardware.


def with_reading(scene: Scene, reading: GpuReading) -> dict[str, Any]:
    return {"hardware": Hardware(scene.box.hardware.machine, reading)}


def test_a_gpu_that_cannot_be_read_is_told_from_one_that_is_not_there(license: Path, lock_scene: Scene) -> None:
    problem = "GPU 0 cannot be read: GPU is lost"
    for reading, reason in (
        (GpuReading((), "580"), "gpu_mismatch"),
        (GpuReading((OTHER_GPU,), "580"), "gpu_mismatch"),
        (GpuReading((), "580", (problem,)), "gpu_unreadable"),
        (GpuReading((OTHER_GPU,), "580", (problem,)), "gpu_unreadable"),
    ):
        error = refused(lambda reading=reading: lock_scene.unlock(license, **with_reading(lock_scene, reading)))  # type: ignore[misc]
        assert error.reason == reason
        assert (problem in error.message) == (reason == "gpu_unreadable")
        assert any(GPU.label in hint for hint in error.hints)


def test_a_problem_with_another_gpu_does_not_matter(license: Path, lock_scene: Scene) -> None:
    reading = GpuReading((GPU,), "580", ("GPU 1 cannot be read: GPU is lost",))
    assert lock_scene.unlock(license, **with_reading(lock_scene, reading)).matched.gpu == GPU


def test_the_refusal_says_what_is_licensed_and_what_is_there(license: Path, lock_scene: Scene) -> None:
    error = refused(lambda: lock_scene.unlock(license, **with_reading(lock_scene, GpuReading((OTHER_GPU,)))))
    assert f"the license is for {GPU.label}" in error.hints
    assert f"this machine has {OTHER_GPU.label}" in error.hints
    assert GPU.uuid not in " ".join(error.hints)
    error = refused(lambda: lock_scene.unlock(license, **with_reading(lock_scene, GpuReading())))
    assert "this machine has no NVIDIA GPU" in error.hints
    elsewhere = replace(lock_scene.box.hardware, machine=OTHER_MACHINE)
    error = refused(lambda: lock_scene.unlock(license, hardware=elsewhere))
    assert error.message.startswith("the license is for another machine: ")


# Step 8: the device key.


def test_a_license_for_a_tpm_does_not_open_with_a_software_key(lock_scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "acme.lic"
    path.write_bytes(signed_again(lock_scene.issue(), lock_scene.signing_key, tier="tpm"))
    error = refused(lambda: lock_scene.unlock(path))
    assert error.reason == "device_key_mismatch"
    assert error.message == "the license demands a device key of the tier 'tpm', and this one is 'software'"
