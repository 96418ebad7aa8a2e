"""Which hardware a license is for: spare GPUs, and GPUs in place of MIG instances; and unlocking with each."""

from pathlib import Path
from typing import Any

import pytest

from licensing.errors import GpuMismatchError, LicensingError, UsageError
from licensing.gpus import Gpu
from licensing.slot_terms import SlotTerms, licensed_gpus
from tests.lock_scene import GPU, OTHER_GPU, OTHER_MACHINE, Scene

PARENT = Gpu("GPU-33333333-6aef-4c1b-9f00-0123456789ab", "NVIDIA H200", 0, mig_enabled=True)
ONE, TWO = (
    Gpu(f"MIG-{number:08x}-52dd-5e8f-8a10-ba9876543210", "NVIDIA H200 MIG 1g.18gb", 0, parent_uuid=PARENT.uuid)
    for number in (1, 2)
)
SPARE = "GPU-99999999-6aef-4c1b-9f00-0123456789ab"


def named(gpus: list[Gpu]) -> list[tuple[str, str]]:
    return [(gpu.identity, gpu.label) for gpu in gpus]


def test_by_default_what_the_request_names() -> None:
    assert licensed_gpus([GPU, ONE, TWO], SlotTerms()) == [GPU, ONE, TWO]
    assert licensed_gpus([], SlotTerms()) == []


def test_gpu_in_place_of_its_instances() -> None:
    gpus = licensed_gpus([GPU, ONE, TWO], SlotTerms(mig="parent"))
    assert named(gpus) == [(GPU.identity, GPU.label), (PARENT.identity, "NVIDIA H200 (GPU-33333333…)")]
    assert named(licensed_gpus([PARENT, ONE], SlotTerms(mig="parent"))) == [(PARENT.identity, PARENT.label)]


def test_spare_gpus_come_last() -> None:
    gpus = licensed_gpus([GPU], SlotTerms(spare_gpus=(SPARE, OTHER_GPU.uuid)))
    assert named(gpus)[1:] == [(SPARE, "spare GPU (GPU-99999999…)"), (OTHER_GPU.uuid, "spare GPU (GPU-7d1e93b4…)")]


@pytest.mark.parametrize(
    ("requested", "terms", "words"),
    [
        ([GPU], {"spare_gpus": (GPU.uuid,)}, "licensed already"),
        ([GPU], {"spare_gpus": (SPARE, SPARE)}, "licensed already"),
        ([ONE], {"spare_gpus": (PARENT.uuid,), "mig": "parent"}, "licensed already"),
        ([GPU], {"spare_gpus": (ONE.uuid,)}, "is not a GPU's UUID"),
        ([GPU], {"spare_gpus": (SPARE.upper(),)}, "is not a GPU's UUID"),
        ([GPU], {"spare_gpus": ("",)}, "is not a GPU's UUID"),
        ([], {"spare_gpus": (SPARE,)}, "for the machine alone holds with every GPU"),
        ([ONE], {"mig": "both"}, "cannot bind to the 'both' of MIG"),
    ],
)
def test_terms_that_cannot_be_meant(requested: list[Gpu], terms: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        licensed_gpus(requested, SlotTerms(**terms))


def test_more_slots_than_a_license_has(lock_scene: Scene) -> None:
    spares = tuple(f"GPU-{number:08x}-6aef-4c1b-9f00-0123456789ab" for number in range(256))
    with pytest.raises(UsageError, match="at most 256 slots"):
        lock_scene.issue(gpus=(GPU,), slots=SlotTerms(spare_gpus=spares))
    lock_scene.issue(gpus=(GPU,), slots=SlotTerms(spare_gpus=spares[1:]))


# Unlocking with them.


def unlocks(scene: Scene, folder: Path, data: bytes, *gpus: Gpu) -> str | None:
    """Returns the slot that a box with these GPUs fills, None where none."""
    (folder / "acme.lic").write_bytes(data)
    try:
        unlocked = scene.unlock(folder / "acme.lic", hardware=scene.box.with_gpus(*gpus).hardware)
    except GpuMismatchError:
        return None
    assert unlocked.content_key == scene.model.content_key
    return unlocked.matched.slot.slot_id


def test_spare_gpu_unlocks_once_it_is_in_the_machine(lock_scene: Scene, tmp_path: Path) -> None:
    data = lock_scene.issue(gpus=(GPU,), slots=SlotTerms(spare_gpus=(OTHER_GPU.uuid,)))
    assert unlocks(lock_scene, tmp_path, data, GPU) == "slot-1"
    assert unlocks(lock_scene, tmp_path, data, OTHER_GPU) == "slot-2"
    assert unlocks(lock_scene, tmp_path, data, PARENT) is None
    assert unlocks(lock_scene, tmp_path, lock_scene.issue(gpus=(GPU,)), OTHER_GPU) is None


def test_spare_gpu_unlocks_in_the_licensed_machine_alone(lock_scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "acme.lic"
    path.write_bytes(lock_scene.issue(gpus=(GPU,), slots=SlotTerms(spare_gpus=(OTHER_GPU.uuid,))))
    elsewhere = lock_scene.box.with_gpus(OTHER_GPU).on_machine(OTHER_MACHINE)
    with pytest.raises(LicensingError) as refusal:
        lock_scene.unlock(path, hardware=elsewhere.hardware)
    assert refusal.value.reason == "machine_mismatch"


def test_instance_or_its_whole_gpu(lock_scene: Scene, tmp_path: Path) -> None:
    alone = lock_scene.issue(gpus=(ONE,))
    assert unlocks(lock_scene, tmp_path, alone, PARENT, ONE) == "slot-1"
    assert unlocks(lock_scene, tmp_path, alone, PARENT, TWO) is None
    whole = lock_scene.issue(gpus=(ONE,), slots=SlotTerms(mig="parent"))
    for gpus in ((PARENT, ONE), (PARENT, TWO), (PARENT,)):
        assert unlocks(lock_scene, tmp_path, whole, *gpus) == "slot-1"
    assert unlocks(lock_scene, tmp_path, whole, GPU) is None
