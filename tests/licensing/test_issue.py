"""Issuing: which hardware a license opens on, what a vendor's terms may be, and what a license gives away."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from licensing.content_key import key_id, new_content_key
from licensing.errors import GpuRequiredError, LicensingError, UsageError
from licensing.gpus import Gpu
from licensing.issue import IssuedLicense, ModelKey, Terms, issue_license
from licensing.jwk import thumbprint
from licensing.jws import PrivateKey
from licensing.license import MAX_MODELS, LicenseFile, read_claims
from licensing.request import read_request
from licensing.trust import TrustedKeys
from tests.lock_scene import GPU, NOW, OTHER_GPU, OTHER_MACHINE, Scene
from tests.raw_jws import from_b64

THIRD_GPU = Gpu("GPU-2b9e4d17-83a5-4c60-9f1e-7a0d6c5b3e28", "NVIDIA L40S", 2)
DIVIDED = replace(GPU, mig_enabled=True)
MIG = Gpu("MIG-9c1a5b1e-2d34-5f67-8a90-b1c2d3e4f506", "NVIDIA H200 MIG 1g.18gb", 0, parent_uuid=GPU.uuid)
OTHER_MIG = Gpu("MIG-3e7f2a90-6b1c-5d48-8e25-4f9a0c7b6d13", "NVIDIA H200 MIG 1g.18gb", 0, parent_uuid=GPU.uuid)


def unlocks(scene: Scene, directory: Path, data: bytes, *gpus: Gpu) -> str:
    """Returns the slot that opens on the licensed box with these GPUs, or the reason of the refusal."""
    (directory / "acme.lic").write_bytes(data)
    try:
        unlocked = scene.unlock(directory / "acme.lic", hardware=scene.box.with_gpus(*gpus).hardware)
    except LicensingError as error:
        return error.reason
    assert unlocked.content_key == scene.model.content_key
    return unlocked.matched.slot.slot_id


def issue(scene: Scene, *models: ModelKey, request: bytes | None = None, **terms: Any) -> IssuedLicense:
    fields = {"vendor": "Löwe AI", "customer": "Acme", "expires": NOW + timedelta(days=30), **terms}
    asked = read_request(request or scene.box.request())
    return issue_license(asked, models or (scene.model,), Terms(**fields), scene.signing_key, NOW)


# Which hardware opens it.


def test_any_licensed_gpu_opens_and_an_unlicensed_one_does_not(lock_scene: Scene, tmp_path: Path) -> None:
    data = lock_scene.issue(box=lock_scene.box.with_gpus(GPU, OTHER_GPU))
    expected: list[tuple[tuple[Gpu, ...], str]] = [
        ((GPU, OTHER_GPU), "slot-1"),
        ((GPU,), "slot-1"),
        ((OTHER_GPU,), "slot-2"),
        ((THIRD_GPU, OTHER_GPU), "slot-2"),
        ((OTHER_GPU, GPU), "slot-1"),
        ((THIRD_GPU,), "gpu_mismatch"),
        ((), "gpu_mismatch"),
    ]
    for gpus, outcome in expected:
        assert unlocks(lock_scene, tmp_path, data, *gpus) == outcome, gpus


def test_eight_gpus_are_eight_slots_in_their_order(lock_scene: Scene, tmp_path: Path) -> None:
    gpus = [replace(GPU, uuid=GPU.uuid[:-1] + str(number), index=number) for number in range(8)]
    data = lock_scene.issue(box=lock_scene.box.with_gpus(*gpus))
    assert len(json.loads(data)["grants"]) == 8
    for number, gpu in enumerate(gpus, start=1):
        assert unlocks(lock_scene, tmp_path, data, gpu) == f"slot-{number}"


def test_only_the_gpus_that_the_request_names_are_licensed(lock_scene: Scene, tmp_path: Path) -> None:
    data = lock_scene.issue(box=lock_scene.box.with_gpus(GPU, OTHER_GPU), gpus=(OTHER_GPU,))
    assert unlocks(lock_scene, tmp_path, data, GPU, OTHER_GPU) == "slot-1"
    assert unlocks(lock_scene, tmp_path, data, GPU) == "gpu_mismatch"


def test_a_mig_instance_is_licensed_alone(lock_scene: Scene, tmp_path: Path) -> None:
    data = lock_scene.issue(box=lock_scene.box.with_gpus(DIVIDED, MIG), gpus=(MIG,))
    moved = replace(MIG, parent_uuid=OTHER_GPU.uuid)
    assert unlocks(lock_scene, tmp_path, data, DIVIDED, OTHER_MIG, MIG) == "slot-1"
    assert unlocks(lock_scene, tmp_path, data, DIVIDED, OTHER_MIG) == "gpu_mismatch"
    assert unlocks(lock_scene, tmp_path, data, GPU) == "gpu_mismatch"
    assert unlocks(lock_scene, tmp_path, data, OTHER_GPU, moved) == "gpu_mismatch"


def test_a_licensed_gpu_that_is_divided_later_still_opens(lock_scene: Scene, tmp_path: Path) -> None:
    """NVML reports the GPU beside its instances, and the license names the GPU."""
    data = lock_scene.issue()
    assert unlocks(lock_scene, tmp_path, data, DIVIDED, MIG, OTHER_MIG) == "slot-1"
    assert unlocks(lock_scene, tmp_path, data, replace(GPU, name="another name", index=7)) == "slot-1"


def test_without_a_gpu_the_vendor_must_say_so(lock_scene: Scene, tmp_path: Path) -> None:
    box = lock_scene.box.with_gpus()
    with pytest.raises(GpuRequiredError) as refusal:
        lock_scene.issue(box=box)
    assert refusal.value.reason == "gpu_required"
    data = lock_scene.issue(box=box, allow_no_gpu=True)
    assert unlocks(lock_scene, tmp_path, data) == "slot-1"
    assert unlocks(lock_scene, tmp_path, data, OTHER_GPU) == "slot-1"
    elsewhere = lock_scene.box.on_machine(OTHER_MACHINE)
    (tmp_path / "acme.lic").write_bytes(data)
    with pytest.raises(LicensingError) as other:
        lock_scene.unlock(tmp_path / "acme.lic", hardware=elsewhere.hardware)
    assert other.value.reason == "machine_mismatch"


def test_allowing_no_gpu_does_not_drop_one_that_is_there(lock_scene: Scene, tmp_path: Path) -> None:
    data = lock_scene.issue(allow_no_gpu=True)
    assert unlocks(lock_scene, tmp_path, data, GPU) == "slot-1"
    assert unlocks(lock_scene, tmp_path, data) == "gpu_mismatch"


@pytest.mark.parametrize(
    "make", [lambda: ec.generate_private_key(ec.SECP256R1()), lambda: rsa.generate_private_key(65537, 3072)]
)
def test_every_kind_of_signing_key_issues(make: Callable[[], PrivateKey], lock_scene: Scene, tmp_path: Path) -> None:
    key = make()
    trust, license = tmp_path / "trust.jwks", tmp_path / "acme.lic"
    trust.write_bytes(TrustedKeys({thumbprint(key.public_key()): key.public_key()}).to_bytes())
    license.write_bytes(lock_scene.issue(signing_key=key))
    assert lock_scene.unlock(license, trust=trust).content_key == lock_scene.model.content_key


# Models.


def test_every_model_on_every_slot_has_a_grant_of_its_own(lock_scene: Scene, tmp_path: Path) -> None:
    data = lock_scene.issue(*lock_scene.models, box=lock_scene.box.with_gpus(GPU, OTHER_GPU))
    grants = json.loads(data)["grants"]
    assert len({grant["key"] for grant in grants}) == len(grants) == 4
    (tmp_path / "acme.lic").write_bytes(data)
    for model in lock_scene.models:
        for gpu in (GPU, OTHER_GPU):
            hardware = lock_scene.box.with_gpus(gpu).hardware
            unlocked = lock_scene.unlock(
                tmp_path / "acme.lic", model_id=model.model_id, key_id=model.key_id, hardware=hardware
            )
            assert unlocked.content_key == model.content_key


def test_models_are_from_1_to_1000_each_once_and_under_their_own_key(lock_scene: Scene) -> None:
    model, other = lock_scene.models

    def numbered(number: int) -> ModelKey:
        return replace(model, model_id=f"{number:08x}-0000-4000-8000-000000000000")

    most = [numbered(number) for number in range(MAX_MODELS)]
    assert len(issue(lock_scene, *most).claims.models) == MAX_MODELS
    request, terms = read_request(lock_scene.box.request()), Terms("Löwe AI", "Acme", NOW + timedelta(days=1))
    for models in ([], [model, model], [model, replace(other, model_id=model.model_id)], [*most, numbered(5000)],
                   [replace(model, content_key=new_content_key())], [replace(model, key_id=other.key_id)]):  # fmt: skip
        with pytest.raises(UsageError) as refusal:
            issue_license(request, models, terms, lock_scene.signing_key, NOW)
        assert refusal.value.reason == "usage"


# Terms.


def test_terms_are_what_the_license_says(lock_scene: Scene) -> None:
    later, end = NOW + timedelta(days=3), datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=-5)))
    issued = issue(lock_scene, not_before=later, expires=end, features=("training", "Löwe"))
    claims = read_claims(LicenseFile.parse(issued.data))
    assert claims == issued.claims
    assert (claims.vendor, claims.customer, claims.features) == ("Löwe AI", "Acme", ("training", "Löwe"))
    assert (claims.issued, claims.not_before, claims.expires) == (NOW, later, end)
    assert (claims.license_id, claims.not_before, claims.expires) == (
        issued.license_id,
        issued.not_before,
        issued.expires,
    )


def test_by_default_a_license_begins_an_hour_before_it_is_issued(lock_scene: Scene) -> None:
    assert issue(lock_scene).not_before == NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    "terms",
    [
        {"expires": NOW},
        {"expires": NOW - timedelta(seconds=1)},
        {"expires": NOW + timedelta(days=1), "not_before": NOW + timedelta(days=1)},
        {"expires": NOW + timedelta(days=1), "not_before": NOW + timedelta(days=2)},
        {"expires": NOW + timedelta(milliseconds=400), "not_before": NOW},
        {"not_before": datetime(1969, 12, 31, tzinfo=timezone.utc)},
        {"expires": datetime(2030, 1, 1)},
        {"not_before": datetime(2026, 1, 1)},
        {"vendor": ""},
        {"vendor": "a\nb"},
        {"customer": ""},
        {"customer": "a" * 201},
        {"customer": "Acme\x00"},
        {"customer": "\ud800"},
        {"features": ("",)},
        {"features": ("a\tb",)},
        {"features": ("\udcff",)},
        {"features": tuple(map(str, range(1001)))},
    ],
    ids=str,
)
def test_terms_that_no_license_can_express_are_wrong_usage(terms: dict[str, Any], lock_scene: Scene) -> None:
    """They are found when the license is issued, and not by the customer."""
    with pytest.raises(UsageError) as refusal:
        issue(lock_scene, **terms)
    assert refusal.value.reason == "usage"


# What a license gives away.


def test_two_licenses_for_one_box_share_nothing_that_links_them(lock_scene: Scene) -> None:
    """Except for the device key, the labels and the models, which the vendor wrote in for people to read."""
    first, second = (json.loads(from_b64(issue(lock_scene).data.split(b".")[1].decode())) for _ in range(2))
    for path in (("jti",), ("salt",), ("secret",), ("slots", 0, "machine", "digest"), ("slots", 0, "gpu", "digest")):
        values = [first, second]
        for name in path:
            values = [value[name] for value in values]
        assert values[0] != values[1], path


def test_no_identifier_and_no_key_stands_readable_in_a_license(lock_scene: Scene) -> None:
    data = lock_scene.issue()
    text = data + from_b64(json.loads(data)["license"].split(".")[1])
    machine = lock_scene.box.hardware.machine
    for secret in (GPU.uuid, machine.machine_id, machine.fingerprint, lock_scene.model.content_key.hex()):
        assert secret.encode() not in text
    assert lock_scene.model.content_key not in text


def test_records_do_not_show_secrets(lock_scene: Scene) -> None:
    issued = issue(lock_scene)
    shown = repr(lock_scene.model) + repr(issued)
    assert repr(lock_scene.model.content_key) not in shown
    assert str(issued.data) not in shown
    assert key_id(lock_scene.model.content_key) in shown
