"""Reading GPUs: the real pynvml, in processes of their own, on boxes that tests/fake_nvml describes."""

from dataclasses import replace

import pytest

from licensing.gpus import Gpu, GpuReading
from licensing.hardware import computing_devices
from tests.fake_nvml import LIBRARY_NAME, Box, Failure, FakeGpu, FakeMig, FakeNvml, compile_library

DRIVER = "580.159.04"
LOST = 15


def gpu_uuid(number: int) -> str:
    return f"GPU-{number:08x}-6aef-4c1b-9f00-0123456789ab"


def mig_uuid(number: int) -> str:
    return f"MIG-{number:08x}-52dd-5e8f-8a10-ba9876543210"


def whole_gpu(number: int, name: str = "NVIDIA H200") -> Gpu:
    return Gpu(gpu_uuid(number), name, number)


EIGHT = tuple(FakeGpu(gpu_uuid(number)) for number in range(8))

DIVIDED = FakeGpu(
    gpu_uuid(0),
    mig_mode="on",
    instances=(FakeMig(2, mig_uuid(2)), FakeMig(5, mig_uuid(5), "NVIDIA H200 MIG 3g.71gb")),
)

# Healthy boxes.


def test_one_gpu(fake_nvml: FakeNvml) -> None:
    reading = fake_nvml.read_gpus(Box(gpus=(FakeGpu(gpu_uuid(0)),)))
    assert reading == GpuReading((whole_gpu(0),), DRIVER, ())


def test_eight_gpus_in_order(fake_nvml: FakeNvml) -> None:
    reading = fake_nvml.read_gpus(Box(gpus=EIGHT))
    assert reading == GpuReading(tuple(whole_gpu(number) for number in range(8)), DRIVER, ())


def test_mig_instances_follow_the_gpu_that_they_divide(fake_nvml: FakeNvml) -> None:
    """Instances at places 2 and 5 are found though the places before and between them are empty."""
    reading = fake_nvml.read_gpus(Box(gpus=(DIVIDED, FakeGpu(gpu_uuid(1)))))
    assert reading.problems == ()
    assert reading.gpus == (
        Gpu(gpu_uuid(0), "NVIDIA H200", 0, mig_enabled=True),
        Gpu(mig_uuid(2), "NVIDIA H200 MIG 1g.18gb", 0, parent_uuid=gpu_uuid(0)),
        Gpu(mig_uuid(5), "NVIDIA H200 MIG 3g.71gb", 0, parent_uuid=gpu_uuid(0)),
        whole_gpu(1),
    )


def test_mig_uuids_of_drivers_before_r470(fake_nvml: FakeNvml) -> None:
    uuid = f"MIG-{gpu_uuid(0)}/7/0"
    box = Box(gpus=(FakeGpu(gpu_uuid(0), mig_mode="on", instances=(FakeMig(0, uuid),)),), driver_version="450.80.02")
    reading = fake_nvml.read_gpus(box)
    assert reading.problems == ()
    assert [gpu.identity for gpu in reading.gpus] == [gpu_uuid(0), f"{gpu_uuid(0)}/{uuid}"]


def test_gpu_without_mig_support(fake_nvml: FakeNvml) -> None:
    reading = fake_nvml.read_gpus(Box(gpus=(FakeGpu(gpu_uuid(0), "NVIDIA L4", mig_mode="unsupported"),)))
    assert reading == GpuReading((whole_gpu(0, "NVIDIA L4"),), DRIVER, ())


def test_virtual_gpus_are_those_of_a_virtual_machine(fake_nvml: FakeNvml) -> None:
    """Modes as in nvml.h: none, passed through whole, virtual, and two kinds of hosts of virtual GPUs."""
    modes = (None, 0, 1, 2, 3, 4)
    boxes = [Box(gpus=(FakeGpu(gpu_uuid(0), virtualization=mode),)) for mode in modes]
    readings = fake_nvml.read_gpus_of_each(*boxes)
    assert [reading.gpus[0].is_virtual for reading in readings] == [mode == 2 for mode in modes]


def test_instances_of_a_virtual_gpu_are_virtual(fake_nvml: FakeNvml) -> None:
    reading = fake_nvml.read_gpus(Box(gpus=(replace(DIVIDED, virtualization=2),)))
    assert [gpu.is_virtual for gpu in reading.gpus] == [True, True, True]


def test_virtualization_that_cannot_be_read_hides_no_gpu(fake_nvml: FakeNvml) -> None:
    gpu = FakeGpu(gpu_uuid(0), failures=(Failure(999, "nvmlDeviceGetVirtualizationMode"),))
    assert fake_nvml.read_gpus(Box(gpus=(gpu,))) == GpuReading((whole_gpu(0),), DRIVER, ())


def test_driver_without_gpus(fake_nvml: FakeNvml) -> None:
    assert fake_nvml.read_gpus(Box()) == GpuReading((), DRIVER, ())


def test_each_reading_measures_anew(fake_nvml: FakeNvml) -> None:
    """A long-running process sees that a GPU was swapped for another, and that it came back."""
    first, second = (Box(gpus=(FakeGpu(gpu_uuid(0)), FakeGpu(gpu_uuid(number)))) for number in (1, 2))
    readings = fake_nvml.read_gpus_of_each(first, second, first)
    assert [reading.gpus[1].uuid for reading in readings] == [gpu_uuid(1), gpu_uuid(2), gpu_uuid(1)]
    assert [reading.gpus[0] for reading in readings] == [whole_gpu(0)] * 3


# No driver, or none that answers.

READ_WITHOUT_LIBRARY = """
import ctypes, dataclasses, json, sys, pynvml
# The path of a missing file stands for the bare name, which finds the driver of a box that has one.
pynvml.CDLL = lambda name: ctypes.CDLL(f"{sys.argv[1]}/{name}")
from licensing.gpus import read_gpus
print(json.dumps(dataclasses.asdict(read_gpus())))
"""


def test_no_driver_is_no_problem(fake_nvml: FakeNvml, tmp_path_factory: pytest.TempPathFactory) -> None:
    reading = fake_nvml.run(READ_WITHOUT_LIBRARY, str(tmp_path_factory.mktemp("empty")), box=Box())
    assert reading == {"gpus": [], "driver_version": None, "problems": [], "library": None}


def test_driver_that_is_not_loaded_is_no_problem(fake_nvml: FakeNvml) -> None:
    """The library is installed, and the kernel module is not there: the same as no driver."""
    assert fake_nvml.read_gpus(Box(gpus=EIGHT, failures=(Failure(9, "nvmlInitWithFlags"),))) == GpuReading()


@pytest.mark.parametrize("content", [b"", b"This is no shared library.\n" * 100], ids=["empty", "text"])
def test_library_that_does_not_load_is_reported(
    content: bytes, fake_nvml: FakeNvml, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An empty file of this name is what images made under NVIDIA's container runtime leave behind."""
    broken = FakeNvml(tmp_path_factory.mktemp("broken"), tmp_path_factory.mktemp("boxes"))
    (broken.library / LIBRARY_NAME).write_bytes(content)
    reading = broken.read_gpus(Box(gpus=EIGHT))
    assert (reading.gpus, reading.driver_version) == ((), None)
    (problem,) = reading.problems
    assert problem.startswith(f"the NVIDIA driver's library does not load: {broken.library / LIBRARY_NAME}: ")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (4, "Insufficient Permissions"),
        (18, "RM has detected an NVML/RM version mismatch"),
        (999, "Unknown Error"),
        (12345, "error 12345 of the fake NVML"),  # A code that pynvml does not know has the library's words.
    ],
)
def test_driver_that_refuses_is_reported(code: int, words: str, fake_nvml: FakeNvml) -> None:
    reading = fake_nvml.read_gpus(Box(gpus=EIGHT, failures=(Failure(code, "nvmlInitWithFlags"),)))
    assert reading == GpuReading(problems=(f"the NVIDIA driver does not answer: {words}",))


def test_driver_that_dies_while_counting_is_reported(fake_nvml: FakeNvml) -> None:
    reading = fake_nvml.read_gpus(Box(gpus=EIGHT, failures=(Failure(999, "nvmlDeviceGetCount_v2"),)))
    assert reading == GpuReading((), DRIVER, ("the NVIDIA driver does not answer: Unknown Error",))


@pytest.mark.parametrize("count", [1025, 0xFFFFFFFF])
def test_absurd_count_is_not_counted_to(count: int, fake_nvml: FakeNvml) -> None:
    reading = fake_nvml.read_gpus(Box(gpus=EIGHT, count=count))
    assert reading == GpuReading((), DRIVER, (f"the NVIDIA driver counts {count} GPUs, which no machine holds",))


def test_failing_shutdown_spoils_no_reading(fake_nvml: FakeNvml) -> None:
    box = Box(gpus=EIGHT, failures=(Failure(999, "nvmlShutdown"),))
    assert fake_nvml.read_gpus_of_each(box, box) == [GpuReading(tuple(map(whole_gpu, range(8))), DRIVER, ())] * 2


SESSIONS = """
import json, pynvml
from licensing.gpus import read_gpus
pynvml.nvmlInit()
read_gpus()
counted = pynvml.nvmlDeviceGetCount()
pynvml.nvmlShutdown()
read_gpus()
try:
    print(json.dumps([counted, pynvml.nvmlDeviceGetCount()]))
except pynvml.NVMLError_Uninitialized:
    print(json.dumps([counted, "closed"]))
"""


def test_sessions_of_the_application_stay_as_they_are(fake_nvml: FakeNvml) -> None:
    """A reading neither closes the session of an application that watches its GPUs itself, nor leaves its own."""
    assert fake_nvml.run(SESSIONS, box=Box(gpus=EIGHT)) == [8, "closed"]


# Libraries older or newer than pynvml: what the answer to each function is needed for.

NOT_FOUND = "Function Not Found"


@pytest.mark.parametrize(
    ("symbol", "reading"),
    [
        ("nvmlInitWithFlags", GpuReading(problems=(f"the NVIDIA driver does not answer: {NOT_FOUND}",))),
        ("nvmlDeviceGetCount_v2", GpuReading((), DRIVER, (f"the NVIDIA driver does not answer: {NOT_FOUND}",))),
        ("nvmlDeviceGetUUID", GpuReading((), DRIVER, (f"GPU 0 cannot be read: {NOT_FOUND}",))),
        ("nvmlDeviceGetMigMode", GpuReading((whole_gpu(0),), DRIVER, ())),
        ("nvmlShutdown", GpuReading((whole_gpu(0),), DRIVER, ())),
    ],
)
def test_library_without_a_function(symbol: str, reading: GpuReading, tmp_path_factory: pytest.TempPathFactory) -> None:
    library = compile_library(tmp_path_factory.mktemp("nvml"), without=symbol)
    fake_nvml = FakeNvml(library, tmp_path_factory.mktemp("boxes"))
    assert fake_nvml.read_gpus(Box(gpus=(FakeGpu(gpu_uuid(0)),))) == reading


# One GPU or one MIG instance that fails.


@pytest.mark.parametrize("symbol", ["*", "nvmlDeviceGetUUID", "nvmlDeviceGetName"])
def test_lost_gpu_hides_no_other(symbol: str, fake_nvml: FakeNvml) -> None:
    lost = FakeGpu(gpu_uuid(3), failures=(Failure(LOST, symbol),))
    reading = fake_nvml.read_gpus(Box(gpus=(*EIGHT[:3], lost, *EIGHT[4:])))
    assert reading.gpus == tuple(whole_gpu(number) for number in range(8) if number != 3)
    assert reading.problems == ("GPU 3 cannot be read: GPU is lost",)


def test_lost_mig_instance_hides_no_other(fake_nvml: FakeNvml) -> None:
    instances = (FakeMig(0, mig_uuid(0), failures=(Failure(LOST),)), FakeMig(1, mig_uuid(1)))
    reading = fake_nvml.read_gpus(Box(gpus=(FakeGpu(gpu_uuid(0), mig_mode="on", instances=instances),)))
    assert [gpu.uuid for gpu in reading.gpus] == [gpu_uuid(0), mig_uuid(1)]
    assert reading.problems == ("MIG instance 0 of GPU 0 cannot be read: GPU is lost",)


def test_unreadable_mig_mode_hides_no_gpu_and_is_reported(fake_nvml: FakeNvml) -> None:
    """Its instances are missing from the reading, so a license for one of them fails: the user must learn why."""
    gpu = FakeGpu(gpu_uuid(0), mig_mode="on", failures=(Failure(999, "nvmlDeviceGetMigMode"),))
    reading = fake_nvml.read_gpus(Box(gpus=(gpu,)))
    assert reading == GpuReading((whole_gpu(0),), DRIVER, ("the MIG mode of GPU 0 cannot be read: Unknown Error",))


@pytest.mark.parametrize(
    ("gpu", "problem"),
    [
        (
            FakeGpu(gpu_uuid(0), mig_mode="on", failures=(Failure(4, "nvmlDeviceGetMaxMigDeviceCount"),)),
            "the MIG instances of GPU 0 cannot be counted: Insufficient Permissions",
        ),
        (
            FakeGpu(gpu_uuid(0), mig_mode="on", mig_places=0xFFFFFFFF),
            "the NVIDIA driver counts 4294967295 MIG instances of GPU 0, which no GPU holds",
        ),
    ],
    ids=["refused", "absurd"],
)
def test_uncounted_mig_instances_hide_no_gpu(gpu: FakeGpu, problem: str, fake_nvml: FakeNvml) -> None:
    reading = fake_nvml.read_gpus(Box(gpus=(gpu, FakeGpu(gpu_uuid(1)))))
    assert reading.gpus == (Gpu(gpu_uuid(0), "NVIDIA H200", 0, mig_enabled=True), whole_gpu(1))
    assert reading.problems == (problem,)


# Odd texts.


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("", "NVIDIA GPU"),
        ("  ", "NVIDIA GPU"),
        (b"NVIDIA \xff\xfe", "NVIDIA GPU"),
        (" NVIDIA H200 ", "NVIDIA H200"),
        ("Grafikkarte für Zürich", "Grafikkarte für Zürich"),
    ],
)
def test_odd_name_hides_no_gpu(said: str | bytes, read: str, fake_nvml: FakeNvml) -> None:
    reading = fake_nvml.read_gpus(Box(gpus=(FakeGpu(gpu_uuid(0), said),)))
    assert reading == GpuReading((whole_gpu(0, read),), DRIVER, ())


def test_odd_name_hides_no_mig_instance(fake_nvml: FakeNvml) -> None:
    instances = (FakeMig(0, mig_uuid(0), ""), FakeMig(1, mig_uuid(1), b"\xc3"))
    reading = fake_nvml.read_gpus(Box(gpus=(FakeGpu(gpu_uuid(0), mig_mode="on", instances=instances),)))
    assert [gpu.name for gpu in reading.gpus[1:]] == ["MIG instance of NVIDIA H200"] * 2
    assert reading.problems == ()


@pytest.mark.parametrize("version", ["", b"580\xff"])
def test_odd_driver_version_hides_no_gpu(version: str | bytes, fake_nvml: FakeNvml) -> None:
    reading = fake_nvml.read_gpus(Box(gpus=(FakeGpu(gpu_uuid(0)),), driver_version=version))
    assert reading == GpuReading((whole_gpu(0),), None, ())


def test_whitespace_around_a_uuid_is_not_part_of_it(fake_nvml: FakeNvml) -> None:
    reading = fake_nvml.read_gpus(Box(gpus=(FakeGpu(f"{gpu_uuid(0)} "),)))
    assert reading == GpuReading((whole_gpu(0),), DRIVER, ())


@pytest.mark.parametrize(
    "uuid",
    ["", "GPU-", "GPU-0", gpu_uuid(0xABC).upper(), gpu_uuid(0)[4:], gpu_uuid(0) + "0", mig_uuid(0), "GPU-\x1b[2J"],
)
def test_gpu_without_a_valid_uuid_is_left_out_and_reported(uuid: str, fake_nvml: FakeNvml) -> None:
    """No license could name it. The sentence shows control characters escaped, as it goes to a terminal."""
    odd = FakeGpu(uuid, mig_mode="on", instances=(FakeMig(0, mig_uuid(1)),))
    reading = fake_nvml.read_gpus(Box(gpus=(odd, FakeGpu(gpu_uuid(1)))))
    assert reading == GpuReading((whole_gpu(1),), DRIVER, (f"GPU 0 has no valid UUID: {uuid!r}",))


def test_uuid_that_is_no_text_is_left_out_and_reported(fake_nvml: FakeNvml) -> None:
    reading = fake_nvml.read_gpus(Box(gpus=(FakeGpu(b"GPU-\xff"), FakeGpu(gpu_uuid(1)))))
    assert reading == GpuReading((whole_gpu(1),), DRIVER, ("GPU 0 has no valid UUID: ''",))


@pytest.mark.parametrize("uuid", ["", gpu_uuid(0), mig_uuid(0)[:-1], f"MIG-{gpu_uuid(0)}/1", f"MIG-{gpu_uuid(0)}/1/x"])
def test_mig_instance_without_a_valid_uuid_is_left_out_and_reported(uuid: str, fake_nvml: FakeNvml) -> None:
    instances = (FakeMig(0, uuid), FakeMig(1, mig_uuid(1)))
    reading = fake_nvml.read_gpus(Box(gpus=(FakeGpu(gpu_uuid(0), mig_mode="on", instances=instances),)))
    assert [gpu.uuid for gpu in reading.gpus] == [gpu_uuid(0), mig_uuid(1)]
    assert reading.problems == (f"MIG instance 0 of GPU 0 has no valid UUID: {uuid!r}",)


# What a reading is used for.

PARENT = Gpu(gpu_uuid(0), "NVIDIA H200", 0, mig_enabled=True)
INSTANCE = Gpu(mig_uuid(1), "NVIDIA H200 MIG 1g.18gb", 0, parent_uuid=gpu_uuid(0))


def test_identity_of_a_gpu_is_its_uuid() -> None:
    assert whole_gpu(0).identity == "GPU-00000000-6aef-4c1b-9f00-0123456789ab"


def test_identity_of_a_mig_instance_begins_with_its_gpu() -> None:
    """An instance with the same UUID under another GPU is another identity."""
    parent, instance = "GPU-00000000-6aef-4c1b-9f00-0123456789ab", "MIG-00000001-52dd-5e8f-8a10-ba9876543210"
    assert INSTANCE.identity == f"{parent}/{instance}"


@pytest.mark.parametrize(
    ("gpu", "label"),
    [
        (whole_gpu(0xABCDEF), "NVIDIA H200 (GPU-00abcdef…)"),
        (INSTANCE, "NVIDIA H200 MIG 1g.18gb (MIG-00000001…)"),
    ],
)
def test_label_is_the_name_and_the_beginning_of_the_uuid(gpu: Gpu, label: str) -> None:
    assert gpu.label == label


def test_computing_devices_are_instances_instead_of_the_gpus_that_they_divide() -> None:
    """A GPU in MIG mode without instances stays: a license for it holds once it is divided."""
    other = Gpu(gpu_uuid(2), "NVIDIA H200", 2, mig_enabled=True)
    assert computing_devices((PARENT, INSTANCE, whole_gpu(1), other)) == [INSTANCE, whole_gpu(1), other]


def test_no_gpus_are_no_computing_devices() -> None:
    assert computing_devices(()) == []
