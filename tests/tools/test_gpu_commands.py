"""The binding to GPUs by the command line: the real pynvml asks a stand-in for the driver what the box holds."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command_line import Outcome, as_process, here
from tests.fake_nvml import Box, Failure, FakeGpu, FakeMig, FakeNvml
from tests.story import Story

# Whole processes, one after another: left out of the checks before each commit.
pytestmark = pytest.mark.slow

INITIALIZING = ("nvmlInitWithFlags", 999)  # NVML_ERROR_UNKNOWN
GPU_IS_LOST = 15


def uuid(number: int, kind: str = "GPU") -> str:
    return f"{kind}-{number:08x}-0000-4000-8000-000000000000"


EIGHT = Box(gpus=tuple(FakeGpu(uuid(number)) for number in range(8)))
INSTANCES = tuple(FakeMig(place, uuid(place, "MIG")) for place in (0, 3))
DIVIDED = Box(gpus=(FakeGpu(uuid(0), mig_mode="on", instances=INSTANCES), FakeGpu(uuid(1))))


@dataclass(frozen=True)
class GpuBox:
    """A customer's box whose GPUs a test chooses anew for each command."""

    story: Story
    folder: Path
    nvml: FakeNvml

    def request(self, box: Box, *options: str) -> Outcome:
        """Makes a license request, where the device key of the story already is."""
        arguments = ("request", "-o", self.folder / "box.req", "--force", "--home", self.story.customer, "--json")
        return as_process(*arguments, *options, variables=self.nvml(box))

    def license(self, box: Box, *options: str) -> None:
        """Has a license made for GPUs of a box."""
        self.request(box, *options).done()
        request = self.folder / "box.req"
        arguments = list(self.story.issue(self.license_path, "--days", "90", request=request))
        arguments.remove("--allow-no-gpu")
        here(*arguments, "--force").done()

    @property
    def license_path(self) -> Path:
        return self.folder / "acme.lic"

    def status(self, box: Box) -> Outcome:
        arguments = ("status", self.license_path, "--home", self.story.customer, "--json")
        return as_process(*arguments, variables=self.nvml(box))

    def run(self, box: Box) -> Outcome:
        arguments = self.story.run(self.folder / "y.npz", "--json", "--force", license=self.license_path)
        return as_process(*arguments, variables=self.nvml(box))

    def bound_to(self, box: Box) -> str:
        """Returns what the license is bound to on a box, where it holds."""
        checks = self.status(box).done().facts["checks"]
        return next(str(check["message"]) for check in checks if check["name"] == "hardware")


@pytest.fixture
def gpu_box(story: Story, tmp_path: Path, fake_nvml: FakeNvml) -> GpuBox:
    return GpuBox(story.copied(tmp_path / "story"), tmp_path, fake_nvml)


def requested(outcome: Outcome) -> list[str]:
    return [gpu["uuid"] for gpu in outcome.done().facts["gpus"]]


@pytest.mark.slow
def test_request_names_the_gpus_that_are_chosen(gpu_box: GpuBox) -> None:
    assert requested(gpu_box.request(EIGHT)) == [uuid(number) for number in range(8)]
    assert requested(gpu_box.request(EIGHT, "--gpu", "all")) == [uuid(number) for number in range(8)]
    assert requested(gpu_box.request(EIGHT, "--gpu", "none")) == []
    assert requested(gpu_box.request(EIGHT, "--gpu", "5", "--gpu", uuid(2), "--gpu", "2")) == [uuid(5), uuid(2)]
    shown = here("inspect", gpu_box.folder / "box.req").done().stdout
    assert (uuid(5) in shown, uuid(2) in shown, uuid(0) in shown) == (True, True, False)


@pytest.mark.slow
def test_request_for_a_gpu_that_is_not_there_is_refused(gpu_box: GpuBox) -> None:
    for choice in ("8", uuid(8), "ALL", "-1"):
        outcome = gpu_box.request(EIGHT, f"--gpu={choice}")
        outcome.refused(2, "usage")
        assert any("NVIDIA H200" in hint for hint in outcome.facts["hints"])


def test_request_names_mig_instances_in_place_of_the_gpu_that_they_divide(gpu_box: GpuBox) -> None:
    gpus = gpu_box.request(DIVIDED).done().facts["gpus"]
    assert [(gpu["uuid"], gpu["parent"]) for gpu in gpus] == [
        (uuid(0, "MIG"), uuid(0)),
        (uuid(3, "MIG"), uuid(0)),
        (uuid(1), None),
    ]
    assert requested(gpu_box.request(DIVIDED, "--gpu", uuid(3, "MIG"))) == [uuid(3, "MIG")]


def test_request_says_when_not_all_gpus_can_be_read(gpu_box: GpuBox) -> None:
    """A GPU that is missing from the license by accident would be noticed when it is too late."""
    box = Box(gpus=(FakeGpu(uuid(0)), FakeGpu(uuid(1), failures=(Failure(GPU_IS_LOST),))))
    outcome = gpu_box.request(box)
    assert "GPU 1 cannot be read" in outcome.refused(3, "gpu_unreadable")
    assert not (gpu_box.folder / "box.req").exists()
    assert requested(gpu_box.request(box, "--gpu", "0")) == [uuid(0)]


@pytest.mark.slow
def test_license_for_one_gpu_holds_with_it_and_with_no_other(gpu_box: GpuBox) -> None:
    gpu_box.license(Box(gpus=(FakeGpu(uuid(1)),)))
    assert "GPU-00000001" in gpu_box.bound_to(Box(gpus=(FakeGpu(uuid(1)),)))
    gpu_box.run(Box(gpus=(FakeGpu(uuid(1)),))).done()
    swapped = Box(gpus=(FakeGpu(uuid(2)),))
    gpu_box.status(swapped).refused(3, "gpu_mismatch")
    outcome = gpu_box.run(swapped)
    assert outcome.refused(3, "gpu_mismatch") == "the license is for another GPU than those in this machine"
    hints = " ".join(outcome.facts["hints"])
    assert ("GPU-00000001" in hints, "GPU-00000002" in hints) == (True, True)


@pytest.mark.slow
def test_license_for_eight_gpus_holds_with_any_of_them(gpu_box: GpuBox) -> None:
    gpu_box.license(EIGHT)
    assert len(here("inspect", gpu_box.license_path, "--json").facts["slots"]) == 8
    for number in (0, 7):
        assert uuid(number)[:12] in gpu_box.bound_to(Box(gpus=(FakeGpu(uuid(99)), FakeGpu(uuid(number)))))
    gpu_box.run(Box(gpus=(FakeGpu(uuid(6)),))).done()
    gpu_box.run(Box(gpus=(FakeGpu(uuid(8)),))).refused(3, "gpu_mismatch")


def test_license_for_a_gpu_is_refused_where_there_is_no_driver(gpu_box: GpuBox, tmp_path: Path) -> None:
    gpu_box.license(EIGHT)
    gone = Box(failures=(Failure(9, "nvmlInitWithFlags"),))  # NVML_ERROR_DRIVER_NOT_LOADED
    outcome = gpu_box.run(gone)
    outcome.refused(3, "gpu_mismatch")
    assert "this machine has no NVIDIA GPU" in outcome.facts["hints"]
    gpu_box.status(gone).refused(3, "gpu_mismatch")


def test_driver_that_fails_is_told_from_a_gpu_that_is_not_licensed(gpu_box: GpuBox) -> None:
    gpu_box.license(EIGHT)
    name, code = INITIALIZING
    gpu_box.run(Box(failures=(Failure(code, name),))).refused(3, "gpu_unreadable")
    lost = Box(gpus=(FakeGpu(uuid(0), failures=(Failure(GPU_IS_LOST),)), FakeGpu(uuid(99))))
    assert "GPU 0 cannot be read" in gpu_box.status(lost).refused(3, "gpu_unreadable")
    # One that is lost does not disturb where another one is licensed.
    rest = Box(gpus=(FakeGpu(uuid(0), failures=(Failure(GPU_IS_LOST),)), FakeGpu(uuid(1))))
    assert uuid(1)[:12] in gpu_box.bound_to(rest)


@pytest.mark.slow
def test_license_for_a_mig_instance_holds_with_it_alone(gpu_box: GpuBox) -> None:
    gpu_box.license(DIVIDED, "--gpu", uuid(3, "MIG"))
    gpu_box.run(DIVIDED).done()
    others = {
        "another instance": FakeGpu(uuid(0), mig_mode="on", instances=INSTANCES[:1]),
        "the same instance of another GPU": FakeGpu(uuid(5), mig_mode="on", instances=INSTANCES),
        "the whole GPU": FakeGpu(uuid(0)),
    }
    for gpu in others.values():
        gpu_box.status(Box(gpus=(gpu,))).refused(3, "gpu_mismatch")


def test_license_for_a_gpu_holds_when_it_is_divided_later(gpu_box: GpuBox) -> None:
    gpu_box.license(Box(gpus=(FakeGpu(uuid(0)),)))
    assert uuid(0)[:12] in gpu_box.bound_to(DIVIDED)


def test_license_for_the_machine_alone_holds_with_any_gpu(gpu_box: GpuBox) -> None:
    shutil.copy(gpu_box.story.license, gpu_box.license_path)
    assert "to no GPU" in gpu_box.bound_to(EIGHT)
    assert "to no GPU" in gpu_box.bound_to(Box())
