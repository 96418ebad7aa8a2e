"""What "cuda:N" is: the driver's own answer, in processes of their own, on boxes that tests/fake_nvml describes."""

import json
from pathlib import Path

import pytest

from licensing.cuda_devices import CudaReading, cuda_index, read_cuda
from licensing.errors import UsageError
from tests.fake_nvml import CUDA_LIBRARY_NAME, Box, Failure, FakeGpu, FakeMig, FakeNvml, compile_cuda, compile_library


def bare(number: int) -> str:
    return f"{number:08x}-6aef-4c1b-9f00-0123456789ab"


def gpu(number: int) -> str:
    return f"GPU-{bare(number)}"


def mig(number: int) -> str:
    return f"MIG-{bare(0xA0 + number)}"


EIGHT = Box(gpus=tuple(FakeGpu(gpu(number)) for number in range(8)))
DIVIDED = Box(
    gpus=(
        FakeGpu(gpu(0), mig_mode="on", instances=(FakeMig(0, mig(0)), FakeMig(3, mig(3)))),
        FakeGpu(gpu(1)),
    )
)

READ = """
import dataclasses, json, os, sys
from licensing.cuda_devices import read_cuda
readings = []
for visible in json.loads(sys.argv[1]):
    # CUDA looks at the variable once in a process.
    receiver, sender = os.pipe()
    if not os.fork():
        if visible is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible
        reading = read_cuda()
        os.environ["CUDA_VISIBLE_DEVICES"] = "7"
        assert reading == read_cuda()
        os.write(sender, json.dumps(dataclasses.asdict(reading)).encode())
        os._exit(0)
    os.close(sender)
    with open(receiver) as answer:
        readings.append(json.load(answer))
print(json.dumps(readings))
"""


def read_each(fake: FakeNvml, box: Box, *visible: str | None) -> list[CudaReading]:
    """Returns what `read_cuda` says in processes on a box, one for each value of CUDA_VISIBLE_DEVICES."""
    found = []
    for fields in fake.run(READ, json.dumps(visible), box=box):
        library = fields.pop("library")
        assert (library is None) == ("does not load" in str(fields["problem"]) or "too old" in str(fields["problem"]))
        assert library is None or library["path"] == str(fake.library / CUDA_LIBRARY_NAME)
        found.append(CudaReading(**{**fields, "uuids": tuple(fields["uuids"])}))
    return found


def read(fake: FakeNvml, box: Box) -> CudaReading:
    return read_each(fake, box, None)[0]


def numbers(reading: CudaReading) -> list[int]:
    assert reading.problem is None
    return [int(uuid[:8], 16) for uuid in reading.uuids]


# Healthy boxes.


def test_one_gpu(fake_nvml: FakeNvml) -> None:
    assert read(fake_nvml, Box(gpus=(FakeGpu(gpu(7)),))) == CudaReading((bare(7),))


def test_order_is_that_of_cuda_and_not_of_nvml(fake_nvml: FakeNvml) -> None:
    assert numbers(read(fake_nvml, EIGHT)) == list(range(8))
    box = Box(gpus=EIGHT.gpus, cuda=tuple(reversed(EIGHT.gpus)))
    assert numbers(read(fake_nvml, box)) == list(reversed(range(8)))


def test_visible_devices(fake_nvml: FakeNvml) -> None:
    expected = {
        "3": [3],
        "6,1,0": [6, 1, 0],
        f"{gpu(5)},{gpu(2)}": [5, 2],
        "GPU-00000004,2": [4, 2],
        "0,2,-1,1": [0, 2],
        "2,8,1": [2],
        "GPU-0": [],  # The beginning of all.
        "": [],
    }
    assert [numbers(each) for each in read_each(fake_nvml, EIGHT, *expected)] == list(expected.values())


def test_mig_instance_has_its_own_uuid(fake_nvml: FakeNvml) -> None:
    expected = {None: [0xA0, 1], mig(3): [0xA3], f"1,{mig(3)[:12]}": [1, 0xA3]}
    assert [numbers(each) for each in read_each(fake_nvml, DIVIDED, *expected)] == list(expected.values())


def test_driver_before_r470_says_the_gpu_of_an_instance(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cuda")
    compile_cuda(compile_library(folder), without="cuDeviceGetUuid_v2")
    readings = read_each(FakeNvml(folder, tmp_path_factory.mktemp("boxes")), DIVIDED, mig(3))
    assert readings == [CudaReading((bare(0),), names_instances=False)]


# A driver that fails.


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Failure(999, "cuInit"), "CUDA_ERROR_UNKNOWN"),
        (Failure(3, "cuInit"), "CUDA_ERROR_NOT_INITIALIZED"),
        (Failure(12345, "cuInit"), "error 12345"),
        (Failure(999, "cuDeviceGetCount"), "CUDA_ERROR_UNKNOWN"),
        (Failure(999, "cuDeviceGet"), "CUDA_ERROR_UNKNOWN"),
        (Failure(999, "cuDeviceGetUuid_v2"), "CUDA_ERROR_UNKNOWN"),
    ],
)
def test_driver_that_refuses_is_reported(failure: Failure, words: str, fake_nvml: FakeNvml) -> None:
    reading = read(fake_nvml, Box(gpus=EIGHT.gpus, cuda_failures=(failure,)))
    assert (reading.uuids, reading.problem) == ((), f"the CUDA driver does not answer: {words}")


def test_no_device_is_no_problem(fake_nvml: FakeNvml) -> None:
    assert read(fake_nvml, Box(gpus=EIGHT.gpus, cuda_failures=(Failure(100, "cuInit"),))) == CudaReading()
    assert read(fake_nvml, Box()) == CudaReading()


@pytest.mark.parametrize("count", [1025, 2**31 - 1])
def test_absurd_count_is_not_counted_to(count: int, fake_nvml: FakeNvml) -> None:
    reading = read(fake_nvml, Box(gpus=EIGHT.gpus, cuda_count=count))
    words = f"the CUDA driver does not answer: it counts {count} devices, which no machine holds"
    assert (reading.uuids, reading.problem) == ((), words)


@pytest.mark.parametrize("symbol", ["cuInit", "cuDeviceGetCount", "cuDeviceGet"])
def test_library_without_a_function(symbol: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = compile_cuda(tmp_path_factory.mktemp("cuda"), without=symbol)
    reading = read(FakeNvml(folder, tmp_path_factory.mktemp("boxes")), EIGHT)
    assert reading.uuids == ()
    assert str(reading.problem).startswith("the CUDA driver is too old, or none: ")


@pytest.mark.parametrize("content", [b"", b"This is no shared library.\n" * 100], ids=["empty", "text"])
def test_library_that_does_not_load(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cuda")
    (folder / CUDA_LIBRARY_NAME).write_bytes(content)
    reading = read(FakeNvml(folder, tmp_path_factory.mktemp("boxes")), EIGHT)
    assert str(reading.problem).startswith("the CUDA driver's library does not load: ")


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licensing.cuda_devices._LIBRARY", str(Path("/missing") / CUDA_LIBRARY_NAME))
    assert str(read_cuda().problem).startswith("the CUDA driver's library does not load: ")


# Names.


@pytest.mark.parametrize(("device", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:07", 7), ("cuda:999", 999)])
def test_names_of_devices(device: str, index: int) -> None:
    assert cuda_index(device) == index


@pytest.mark.parametrize("device", ["cpu", "", "mps", "meta", "xpu:1", "CUDA:0", "GPU"])
def test_names_of_others(device: str) -> None:
    assert cuda_index(device) is None


@pytest.mark.parametrize(
    "device", ["cuda:", "cuda:-1", "cuda:1000", "cuda:x", "cuda:1:2", "cuda: 1", "cuda:١", "cuda:0\n"]
)
def test_names_of_none(device: str) -> None:
    with pytest.raises(UsageError, match="there is no device"):
        cuda_index(device)
