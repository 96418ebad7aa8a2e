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
        return self._process(box, *arguments, *options)

    def license(self, box: Box, *options: str, issue: tuple[str, ...] = ()) -> None:
        """Has a license made for GPUs of a box; `issue` are options of that command, the others of the request."""
        self.request(box, *options).done()
        request = self.folder / "box.req"
        arguments = list(self.story.issue(self.license_path, "--days", "90", request=request))
        arguments.remove("--allow-no-gpu")
        here(*arguments, "--force", *issue).done()

    @property
    def license_path(self) -> Path:
        return self.folder / "acme.lic"

    def status(self, box: Box, *options: str) -> Outcome:
        arguments = ("status", self.license_path, "--home", self.story.customer, "--json")
        return self._process(box, *arguments, *options)

    def run(self, box: Box, *options: str, **variables: str) -> Outcome:
        arguments = self.story.run(self.folder / "y.npz", "--json", "--force", *options, license=self.license_path)
        return self._process(box, *arguments, **variables)

    def _process(self, box: Box, *arguments: str | Path, **more: str) -> Outcome:
        prefix, variables = self.nvml.installed(box)
        return as_process(*arguments, prefix=prefix, variables={**variables, **more})

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


def test_license_for_a_gpu_holds_on_the_device_that_it_is(gpu_box: GpuBox) -> None:
    """The framework of this test has no CUDA: it says so after unlocking, and does not come to it where that fails."""
    gpu_box.license(EIGHT, "--gpu", "2", "--gpu", "5")
    for device, visible in (("cuda:5", None), ("cuda:1", "0,2"), ("cuda", f"{uuid(5)[:14]},0"), ("cuda:0", uuid(2))):
        variables = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        gpu_box.run(EIGHT, "--device", device, **variables).refused(5, "framework_missing")
    outcome = gpu_box.run(EIGHT, "--device", "cuda:0", CUDA_VISIBLE_DEVICES="7,5")
    sentence = outcome.refused(3, "gpu_mismatch")
    assert sentence == "the device 'cuda:0' is NVIDIA H200 (GPU-00000007…), and the license is for another GPU"
    assert "NVIDIA H200 (GPU-00000005…) is 'cuda:1' here" in outcome.facts["hints"]
    gpu_box.run(EIGHT, "--device", "cuda:2", CUDA_VISIBLE_DEVICES="2,5").refused(2, "usage")
    gpu_box.status(EIGHT, "--device", "cuda:5").done()
    gpu_box.status(EIGHT, "--device", "cuda:4").refused(3, "gpu_mismatch")
    gpu_box.run(EIGHT, "--device", "cpu", CUDA_VISIBLE_DEVICES="").done()


def test_device_that_computes_on_one_mig_instance(gpu_box: GpuBox) -> None:
    gpu_box.license(DIVIDED, "--gpu", uuid(3, "MIG"))
    device = ("--device", "cuda:0")
    gpu_box.run(DIVIDED, *device, CUDA_VISIBLE_DEVICES=uuid(3, "MIG")).refused(5, "framework_missing")
    gpu_box.run(DIVIDED, *device).refused(3, "gpu_mismatch")  # The first instance computes.
    gpu_box.license(DIVIDED, "--gpu", uuid(3, "MIG"), issue=("--bind-mig", "parent"))
    gpu_box.run(DIVIDED, *device).refused(5, "framework_missing")
    gpu_box.run(DIVIDED, "--device", "cuda:1").refused(3, "gpu_mismatch")


def test_driver_from_the_search_path_is_not_believed(gpu_box: GpuBox) -> None:
    """The same library as in the other tests, where anybody could have put it."""
    gpu_box.license(EIGHT)
    options = ("--json", "--force")
    arguments = gpu_box.story.run(gpu_box.folder / "y.npz", *options, license=gpu_box.license_path)
    sentence = as_process(*arguments, variables=gpu_box.nvml(EIGHT)).refused(3, "driver_untrusted")
    assert sentence.startswith(f"libnvidia-ml.so.1 was loaded from {str(gpu_box.nvml.library)!r}"[:-1])
    gpu_box.run(EIGHT).done()


def test_parts_of_the_driver_that_disagree(gpu_box: GpuBox) -> None:
    gpu_box.license(EIGHT)
    pretended = Box(gpus=EIGHT.gpus, cuda=(FakeGpu(uuid(99)),))
    gpu_box.run(pretended, "--device", "cuda:0").refused(3, "gpu_disagreement")
    failing = Box(gpus=EIGHT.gpus, cuda_failures=(Failure(999, "cuInit"),))
    gpu_box.run(failing, "--device", "cuda:0").refused(3, "gpu_unreadable")


def test_virtual_gpu_must_be_allowed(gpu_box: GpuBox) -> None:
    passed_through = Box(gpus=(FakeGpu(uuid(0), virtualization=1),))
    box = Box(gpus=(FakeGpu(uuid(0), "NVIDIA A40-48Q", virtualization=2),))
    gpu_box.license(passed_through)
    gpu_box.run(passed_through).done()
    gpu_box.status(box).refused(3, "vgpu_refused")
    gpu_box.request(box).done()
    request = gpu_box.folder / "box.req"
    issue = gpu_box.story.issue(gpu_box.folder / "other.lic", "--days", "9", "--json", request=request)
    here(*issue).refused(3, "vgpu_refused")
    gpu_box.license(box, issue=("--allow-vgpu",))
    gpu_box.run(box).done()


def test_spare_gpu_that_was_licensed_ahead(gpu_box: GpuBox) -> None:
    gpu_box.license(Box(gpus=(FakeGpu(uuid(0)),)), issue=("--spare-gpu", uuid(8)))
    gpu_box.run(Box(gpus=(FakeGpu(uuid(8)),))).done()
    gpu_box.run(Box(gpus=(FakeGpu(uuid(9)),))).refused(3, "gpu_mismatch")


def test_license_for_the_machine_alone_holds_with_any_gpu(gpu_box: GpuBox) -> None:
    shutil.copy(gpu_box.story.license, gpu_box.license_path)
    assert "to no GPU" in gpu_box.bound_to(EIGHT)
    assert "to no GPU" in gpu_box.bound_to(Box())
