"""The status of a license: every check with its own answer, also when several fail at once."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from licensing import status
from licensing.errors import FileAccessError, LicenseMalformedError, LicensingError, MachineIdUnavailableError
from licensing.status import WARNING_DAYS, StatusReport, examine
from tests.lock_attacks import ATTACKS, Attack, grants_of, with_grants
from tests.lock_scene import GPU, NOW, Scene, signed_again

NAMES = ["signature", "claims", "validity", "hardware", "device key", "content keys"]


@pytest.fixture
def license(lock_scene: Scene, tmp_path: Path) -> Path:
    path = tmp_path / "acme.lic"
    path.write_bytes(lock_scene.issue(*lock_scene.models))
    return path


def report(scene: Scene, license: Path, **changes: Any) -> StatusReport:
    usual: dict[str, Any] = {"home": scene.box.home, "hardware": scene.box.hardware, "now": NOW}
    return examine(license, **{**usual, **changes})


def reasons(found: StatusReport) -> dict[str, str]:
    return {check.name: "" if check.error is None else check.error.reason for check in found.checks}


def test_a_license_that_holds(license: Path, lock_scene: Scene) -> None:
    found = report(lock_scene, license)
    assert [check.name for check in found.checks] == NAMES
    assert (found.error, [check.warning for check in found.checks]) == (None, [False] * 6)
    sentences = {check.name: check.sentence for check in found.checks}
    assert sentences["claims"] == "issued by 'Löwe AI' to 'Acme'"
    assert sentences["validity"].endswith(", 30 days from now")
    assert sentences["hardware"].startswith(f"bound to {GPU.label} in the machine ")
    assert sentences["device key"] == "tier software"
    assert sentences["content keys"] == "2 of 2 can be derived here"
    assert found.license is not None
    assert [model.name for model in found.license.models] == ["resnet18", "minilm"]


def test_a_license_without_a_gpu_says_so(lock_scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "acme.lic"
    path.write_bytes(lock_scene.issue(box=lock_scene.box.with_gpus(), allow_no_gpu=True))
    assert report(lock_scene, path).checks[3].sentence.endswith(" alone, to no GPU")


def test_all_that_fails_is_listed_at_once(license: Path, lock_scene: Scene, tmp_path: Path) -> None:
    """Time, hardware and device key are wrong; the first of them is what unlocking would say."""
    found = report(
        lock_scene,
        license,
        trust=lock_scene.box.home / "trust.jwks",
        home=tmp_path,
        hardware=lock_scene.stranger.hardware,
        now=NOW + timedelta(days=90),
    )
    assert reasons(found) == {
        "signature": "",
        "claims": "",
        "validity": "expired",
        "hardware": "machine_mismatch",
        "device key": "device_key_missing",
    }
    assert found.error is not None
    assert found.error.reason == "expired"
    assert found.license is not None


def test_hardware_that_fails_does_not_hide_the_device_key_nor_the_reverse(license: Path, lock_scene: Scene) -> None:
    found = report(lock_scene, license, hardware=lock_scene.box.with_gpus().hardware)
    assert (reasons(found)["hardware"], reasons(found)["device key"]) == ("gpu_mismatch", "")
    found = report(lock_scene, license, home=lock_scene.same_hardware.home)
    assert (reasons(found)["hardware"], reasons(found)["device key"]) == ("", "device_key_mismatch")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda scene, file: signed_again(file, iss="Somebody else"), "signature_invalid"),
        (lambda scene, file: signed_again(file, scene.stranger_signing_key), "untrusted_vendor"),
    ],
)
def test_nothing_of_a_license_is_believed_before_its_signature(
    change: Callable[[Scene, bytes], bytes], reason: str, license: Path, lock_scene: Scene
) -> None:
    license.write_bytes(change(lock_scene, license.read_bytes()))
    found = report(lock_scene, license)
    assert (reasons(found), found.license) == ({"signature": reason}, None)


def test_without_a_trust_file_the_signature_cannot_be_checked(license: Path, lock_scene: Scene, tmp_path: Path) -> None:
    found = report(lock_scene, license, trust=tmp_path / "nowhere")
    assert (reasons(found), found.license) == ({"signature": "trust_missing"}, None)


def test_claims_that_this_version_does_not_know(license: Path, lock_scene: Scene) -> None:
    license.write_bytes(signed_again(license.read_bytes(), lock_scene.signing_key, crit=["later"]))
    found = report(lock_scene, license)
    assert (reasons(found), found.license) == ({"signature": "", "claims": "license_unsupported"}, None)


def test_a_grant_that_does_not_open_is_named_by_its_model(license: Path, lock_scene: Scene) -> None:
    file = license.read_bytes()
    first, second = grants_of(file)
    license.write_bytes(with_grants(file, first, {**second, "key": first["key"]}))
    found = report(lock_scene, license)
    assert reasons(found)["content keys"] == "grant_invalid"
    assert found.checks[-1].sentence.endswith(": 'minilm'")


@pytest.mark.parametrize(
    ("remaining", "warning"),
    [
        (timedelta(days=WARNING_DAYS), False),
        (timedelta(days=WARNING_DAYS) - timedelta(seconds=1), True),
        (timedelta(seconds=1), True),
    ],
)
def test_a_warning_comes_before_the_end(remaining: timedelta, warning: bool, license: Path, lock_scene: Scene) -> None:
    found = report(lock_scene, license, now=NOW + timedelta(days=30) - remaining)
    assert found.error is None
    assert [check.name for check in found.checks if check.warning] == (["validity"] if warning else [])


@pytest.mark.parametrize(("days", "reason"), [(30, "expired"), (-1, "not_yet_valid")])
def test_outside_of_its_time_it_fails_and_does_not_warn(
    days: int, reason: str, license: Path, lock_scene: Scene
) -> None:
    found = report(lock_scene, license, now=NOW + timedelta(days=days))
    assert reasons(found) == {**dict.fromkeys(NAMES, ""), "validity": reason}
    assert not any(check.warning for check in found.checks)


def test_a_time_without_a_zone_is_wrong_usage(license: Path, lock_scene: Scene) -> None:
    found = report(lock_scene, license, now=NOW.replace(tzinfo=None))
    assert reasons(found) == {**dict.fromkeys(NAMES, ""), "validity": "usage"}


def test_a_box_without_a_machine_id(license: Path, lock_scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise MachineIdUnavailableError("this system has no machine ID")

    monkeypatch.setattr(status, "read_hardware", fail)
    found = report(lock_scene, license, hardware=None)
    assert reasons(found) == {"signature": "", "claims": "", "validity": "", "machine id": "machine_id_unavailable"}
    monkeypatch.setattr(status, "read_hardware", lambda: lock_scene.box.hardware)
    found = report(lock_scene, license, hardware=None)
    assert found.error is None
    assert [check.name for check in found.checks] == [*NAMES[:3], "machine id", *NAMES[3:]]


def test_without_a_license_there_is_no_status(lock_scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(FileAccessError):
        report(lock_scene, tmp_path / "nowhere")
    (tmp_path / "acme.lic").write_bytes(b"{}")
    with pytest.raises(LicenseMalformedError):
        report(lock_scene, tmp_path / "acme.lic")


@pytest.mark.parametrize("make_attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_the_status_says_what_unlocking_says(
    make_attack: Callable[[Scene], Attack], lock_scene: Scene, tmp_path: Path
) -> None:
    attack, license = make_attack(lock_scene), tmp_path / "acme.lic"
    license.write_bytes(attack.license_file)
    box: dict[str, Any] = {"home": attack.box.home, "hardware": attack.box.hardware, "now": attack.now}
    with pytest.raises(LicensingError) as refusal:
        lock_scene.unlock(license, model_id=attack.model.model_id, key_id=attack.model.key_id, **box)
    found = examine(license, **box)
    assert found.error is not None
    assert found.error.reason == refusal.value.reason
