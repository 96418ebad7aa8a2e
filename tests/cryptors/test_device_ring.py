"""A file goes through the ring whole and in order, and the ring is gone whatever happens.

Everything runs twice: with the CPU as the device, and with a stand-in for CUDA's streams, whose copies arrive late.
"""

import contextlib
import itertools
import random
import re
import signal
import subprocess
import sys
import threading
import time
from _thread import start_new_thread
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptors import ring_slot
from cryptors.device_ring import DeviceRing
from cryptors.errors import MemoryUnavailableError, ModelDamagedError, ModelMalformedError
from cryptors.reader import LockedModel, ModelFile, read_header
from cryptors.stream import CAPACITY, SEGMENT_BYTES, STREAM_HEADER_BYTES
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.standins.cuda_streams_standin import CudaStreamsStandIn, DeviceTensor

WEIGHTS = random.Random(1).randbytes(9 * SEGMENT_BYTES + 54321)
FILES = {"before": bytes(SEGMENT_BYTES // 3), "empty": b"", "weights": WEIGHTS, "zlast": b"\xff" * 5000}


class Device:
    """Where the copies go: the CPU, or what stands for a GPU."""

    def __init__(self, name: str, cuda: CudaStreamsStandIn | None) -> None:
        self.name = name
        self.cuda = cuda

    def tensor(self, length: int) -> Any:
        data = torch.full((length,), 0xAA, dtype=torch.uint8)
        return DeviceTensor(self.cuda, data) if self.cuda else data

    def assert_filled(self, ring: DeviceRing, start: int, length: int, data: bytes = WEIGHTS) -> None:
        """Fills a tensor, uses it at once, and looks at what was used."""
        target = self.tensor(length)
        target.fill_(0xBB)
        ring.fill(target, start)
        assert target.clone().cpu().numpy().tobytes() == data[start : start + length]


@pytest.fixture(params=["cpu", "cuda:0"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    if request.param == "cpu":
        yield Device("cpu", None)
        return
    delays = random.Random(2)
    with CudaStreamsStandIn.installed(lambda: delays.random() * 0.002) as cuda:
        yield Device("cuda:0", cuda)
        assert not cuda.pinned


@pytest.fixture(autouse=True)
def _no_workers_are_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """They end by themselves when the ring is closed."""
    running: set[int] = set()

    def counted(*arguments: Any) -> None:
        running.add(threading.get_ident())
        ring_slot.work(*arguments)
        running.remove(threading.get_ident())

    monkeypatch.setattr("cryptors.device_ring.work", counted)
    yield
    while running:
        time.sleep(0.001)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A locked model whose weights begin and end within segments; tests copy it before they change it."""
    return write_container(tmp_path_factory.mktemp("ring") / "model.locked", FILES)


@pytest.fixture
def file(path: Path) -> Iterator[ModelFile]:
    with LockedModel(path, CONTENT_KEY, threads=2) as model:
        yield model.file("weights")


@contextlib.contextmanager
def watched(file: ModelFile, device: Device, **sizes: int) -> Iterator[DeviceRing]:
    """A ring, and afterwards the certainty that it was wiped."""
    slots: list[memoryview] = []
    try:
        with DeviceRing(file, device.name, **sizes) as ring:
            slots += [slot.memory for slot in ring._slots]
            yield ring
    finally:
        assert slots
        assert all(bytes(slot) == bytes(len(slot)) for slot in slots)


def damaged(path: Path, folder: Path, segment: int) -> Path:
    """Returns a copy in which a byte of one segment is another."""
    data = bytearray(path.read_bytes())
    data[read_header(path).payload_offset + segment * SEGMENT_BYTES + 100] ^= 1
    (folder / "damaged.locked").write_bytes(data)
    return folder / "damaged.locked"


# All of it arrives.


@pytest.mark.parametrize("sizes", [{}, {"slots": 1, "slot_segments": 1}, {"slots": 3, "slot_segments": 2}])
@pytest.mark.parametrize("part", [len(WEIGHTS), 4 * SEGMENT_BYTES, 999_999])
def test_whole_file_in_order(file: ModelFile, device: Device, part: int, sizes: dict[str, int]) -> None:
    """In one part that is larger than the ring, and in smaller ones; copies are under way while others begin."""
    target = device.tensor(file.size)
    with watched(file, device, **sizes) as ring:
        for start in range(0, file.size, part):
            ring.fill(target[start : start + part], start)
        assert target.clone().cpu().numpy().tobytes() == WEIGHTS


def test_small_parts_with_gaps(file: ModelFile, device: Device) -> None:
    """As tensors lie in an archive; meanwhile this thread reads what is between them."""
    with watched(file, device, slots=2, slot_segments=1) as ring:
        for start in range(0, file.size - 1000, 300_000):
            file.seek(start + 700)
            assert file.read(64) == WEIGHTS[start + 700 : start + 764]
            device.assert_filled(ring, start, 700)


def test_nothing(file: ModelFile, path: Path, device: Device) -> None:
    with watched(file, device) as ring:
        ring.fill(device.tensor(0), 0)
        ring.fill(device.tensor(0), file.size)
    with LockedModel(path, CONTENT_KEY) as model, watched(model.file("empty"), device) as ring:
        ring.fill(device.tensor(0), 0)


@given(
    parts=st.lists(st.tuples(st.integers(0, len(WEIGHTS)), st.integers(0, 3 * SEGMENT_BYTES)), max_size=6),
    slots=st.integers(1, 4),
    slot_segments=st.integers(1, 3),
)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_parts_in_any_order(
    file: ModelFile, device: Device, parts: list[tuple[int, int]], slots: int, slot_segments: int
) -> None:
    with watched(file, device, slots=slots, slot_segments=slot_segments) as ring:
        for start, length in parts:
            device.assert_filled(ring, start, min(length, file.size - start))


@pytest.mark.parametrize("segments", [1, 4])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_file_that_ends_about_where_a_segment_does(tmp_path: Path, device: Device, segments: int, more: int) -> None:
    """Slots are of two segments, so that the file ends with a slot as well."""
    with LockedModel(write_container(tmp_path / "small.locked", {"w": b"1"}), CONTENT_KEY) as model:
        before = model.file()._entry.offset
    data = WEIGHTS[: segments * CAPACITY - STREAM_HEADER_BYTES - before + more]
    path = write_container(tmp_path / "model.locked", {"w": data})
    with LockedModel(path, CONTENT_KEY, threads=2) as model:
        assert model.file()._entry.offset == before
        with watched(model.file(), device, slots=2, slot_segments=2) as ring:
            device.assert_filled(ring, 0, len(data), data)
            device.assert_filled(ring, len(data) - 1, 1, data)


def test_progress_is_told_in_this_thread(path: Path, device: Device) -> None:
    reports: list[tuple[int, int]] = []
    told_in: set[int] = set()

    def progress(done: int, total: int) -> None:
        reports.append((done, total))
        told_in.add(threading.get_ident())

    with LockedModel(path, CONTENT_KEY, threads=2, progress=progress) as model:
        with watched(model.file("weights"), device, slot_segments=1) as ring:
            ring.fill(device.tensor(len(WEIGHTS)), 0)
        assert len(reports) > len(WEIGHTS) / SEGMENT_BYTES
        assert reports == sorted(reports)
        assert reports[-1][0] > len(WEIGHTS)
    assert told_in == {threading.get_ident()}


# The host holds no more than the ring.


def test_no_more_is_decrypted_ahead_than_the_ring_holds(path: Path, device: Device) -> None:
    with (
        LockedModel(path, CONTENT_KEY) as model,
        watched(model.file("weights"), device, slots=2, slot_segments=2) as ring,
    ):
        assert sum(model._verified) == 1, "the index alone, before anything is asked for"
        for place, segments in ((0, 4), (5 * SEGMENT_BYTES, 8)):
            ring.fill(device.tensor(1), place)
            for slot in ring._window:
                ring._outcome(slot)
            assert sum(model._verified) == segments
        assert not any(model._verified[9:]), "a place further on, and what follows it"


def test_ring_of_a_small_file_is_small(path: Path, device: Device) -> None:
    with LockedModel(path, CONTENT_KEY, threads=16) as model, watched(model.file("before"), device) as ring:
        assert [len(slot.memory) for slot in ring._slots] == [SEGMENT_BYTES]


def test_memory_of_the_ring(file: ModelFile, device: Device) -> None:
    """It is left out of core dumps (`dd`) and of forked processes (`dc`, man proc_pid_smaps)."""
    with watched(file, device) as ring:
        address = f"{ring._slots[0].tensor.data_ptr():x}-"
        areas = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
        (area,) = [area for area in areas if area.startswith(address)]
        assert {"dd", "dc"} <= set(re.search("VmFlags: (.*)", area)[1].split())  # type: ignore[index]


PEAK = """
import re, sys, torch
from pathlib import Path
from cryptors import ring_slot
from cryptors.device_ring import DeviceRing
from cryptors.reader import LockedModel

def peak_bytes():
    return int(re.search("VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1]) * 1024

target = torch.empty(2**20, dtype=torch.uint8)
with LockedModel(sys.argv[1], bytes(range(32)), threads=2) as model:
    file, before = model.file(), peak_bytes()
    with DeviceRing(file, "cpu", slots=4, slot_segments=2) as ring:
        for start in range(0, file.size, 2**20):
            ring.fill(target[: file.size - start], start)
    print((peak_bytes() - before) / 2**20)
"""


@pytest.mark.slow
def test_peak_memory(tmp_path: Path) -> None:
    """The ring's 8 MiB and a little, for a model of 100."""
    path = write_container(tmp_path / "model.locked", {"weights": bytes(100 * SEGMENT_BYTES)})
    ended = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, check=True, text=True)
    assert float(ended.stdout) < 20


# Whatever fails, it fails once, as what it is, and nothing is left.


@pytest.mark.parametrize("segment", [2, 5, 9])
def test_damaged_segment(path: Path, tmp_path: Path, device: Device, segment: int) -> None:
    locked = LockedModel(damaged(path, tmp_path, segment), CONTENT_KEY, threads=2)
    with locked, watched(locked.file("weights"), device, slots=2, slot_segments=1) as ring:
        with pytest.raises(ModelDamagedError) as caught:
            ring.fill(device.tensor(len(WEIGHTS)), 0)
        assert locked.failure is caught.value
        with pytest.raises(ValueError, match="closed"):
            ring.fill(device.tensor(1), 0)
    assert caught.value.reason == "model_damaged"


def test_damage_in_a_part_that_is_not_asked_for(path: Path, tmp_path: Path, device: Device) -> None:
    """It was decrypted ahead; the part before, the part after, and all that is far away are as they were."""
    locked = LockedModel(damaged(path, tmp_path, 3), CONTENT_KEY, threads=2)
    with locked, watched(locked.file("weights"), device, slots=4, slot_segments=1) as ring:
        for start in (0, 4 * SEGMENT_BYTES, 8 * SEGMENT_BYTES, 1):
            device.assert_filled(ring, start, SEGMENT_BYTES // 2)


def test_part_beyond_the_end(file: ModelFile, device: Device) -> None:
    """The bytes after it belong to another file of the model."""
    with watched(file, device) as ring:
        for start, length in ((file.size, 1), (file.size - 10, 11), (file.size + 1, 0), (-1, 2)):
            with pytest.raises(ModelMalformedError):
                ring.fill(device.tensor(length), start)


def test_copy_that_fails(file: ModelFile, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example because the device's memory is at its end."""
    places: list[int] = []

    def copy(self: Any, target: Any, source: Any) -> None:
        places.append(source.numel())
        if len(places) == 4:
            raise RuntimeError("CUDA out of memory")
        target.copy_(source)

    with watched(file, device, slots=2, slot_segments=1) as ring:
        monkeypatch.setattr(type(ring._copies), "copy", copy)
        with pytest.raises(RuntimeError, match="out of memory"):
            ring.fill(device.tensor(file.size), 0)


@pytest.mark.parametrize("started", [0, 1])
def test_threads_that_cannot_be_started(
    file: ModelFile, device: Device, monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    """One does all the work; without any, it is a clear error."""
    calls = itertools.count()

    def refuse(*arguments: Any) -> int:
        if next(calls) >= started:
            raise RuntimeError("can't start new thread")
        return start_new_thread(*arguments)

    with watched(file, device) as ring, monkeypatch.context() as patch:
        patch.setattr("cryptors.device_ring.start_new_thread", refuse)
        if started:
            device.assert_filled(ring, 0, file.size)
        else:
            with pytest.raises(MemoryUnavailableError, match="thread"):
                ring.fill(device.tensor(1), 0)


def test_interrupt_while_memory_is_pinned(
    cuda: CudaStreamsStandIn, file: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised when the call has done its work, or before."""
    register = cuda._register
    for is_done in (True, False):

        def interrupted(*arguments: int, is_done: bool = is_done) -> int:
            if is_done:
                register(*arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr(cuda, "_register", interrupted)
        with pytest.raises(KeyboardInterrupt) as kept:
            DeviceRing(file, "cuda:0")
        assert (cuda.pinned, cuda.errors) == ({}, set()), kept


def test_ring_that_is_only_dropped(file: ModelFile, device: Device) -> None:
    """As when an interrupt comes at the moment in which `with` was to close it."""
    ring = DeviceRing(file, device.name, slots=3, slot_segments=1)
    slots = [slot.memory for slot in ring._slots]
    ring.fill(device.tensor(100), 0)
    del ring
    assert all(bytes(slot) == bytes(len(slot)) for slot in slots)


def test_what_was_ordered_in_vain_is_not_decrypted(path: Path, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly(monkeypatch, 0.05)
    model = LockedModel(path, CONTENT_KEY, threads=1)
    with model, watched(model.file("weights"), device, slots=5, slot_segments=1) as ring:
        ring.fill(device.tensor(1), 0)
        device.assert_filled(ring, len(WEIGHTS) - 1, 1)
        assert sum(model._verified) < 6


def test_closed_while_it_decrypts_ahead(file: ModelFile, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly(monkeypatch, 0.02)
    with watched(file, device, slots=5, slot_segments=1) as ring:
        ring.fill(device.tensor(1), 0)
    ring.close()


@pytest.mark.parametrize("milliseconds", [1, 7, 15, 60])
def test_interrupt(file: ModelFile, device: Device, monkeypatch: pytest.MonkeyPatch, milliseconds: int) -> None:
    """Ctrl-C at any time, while the workers still have seconds of work before them."""
    slowly(monkeypatch, 0.01)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def fill(ring: DeviceRing) -> None:
        signal.setitimer(signal.ITIMER_REAL, milliseconds / 1000)
        while True:
            ring.fill(device.tensor(file.size), 0)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with watched(file, device, slots=4, slot_segments=1) as ring, pytest.raises(KeyboardInterrupt):
            fill(ring)
    finally:
        signal.signal(signal.SIGALRM, before)


def slowly(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Makes decrypting take time."""
    read = ModelFile.read_segments

    def read_slowly(self: ModelFile, numbers: range, target: memoryview) -> None:
        time.sleep(seconds)
        read(self, numbers, target)

    monkeypatch.setattr(ModelFile, "read_segments", read_slowly)


# What only streams do.


@pytest.fixture
def cuda() -> Iterator[CudaStreamsStandIn]:
    with CudaStreamsStandIn.installed(lambda: 0.003) as cuda:
        yield cuda


def test_memory_that_cannot_be_pinned(cuda: CudaStreamsStandIn, file: ModelFile) -> None:
    """Then each copy is awaited, and the error that CUDA keeps is not left to the next kernel."""
    cuda.pinning_error = 2
    device = Device("cuda:0", cuda)
    with watched(file, device, slots=2, slot_segments=1) as ring:
        device.assert_filled(ring, 0, file.size)
    assert (cuda.calls, cuda.pinned, cuda.errors) == (1, {}, set())


def test_copies_go_on_when_fill_returns(cuda: CudaStreamsStandIn, file: ModelFile) -> None:
    device, released = Device("cuda:0", cuda), threading.Event()
    target = device.tensor(1000)
    with watched(file, device) as ring:
        cuda.default.enqueue(released.wait)
        ring.fill(target, 0)
        assert cuda.default.is_busy
        released.set()
        assert target.cpu().numpy().tobytes() == WEIGHTS[:1000]


def test_copy_that_fails_on_the_device(cuda: CudaStreamsStandIn, file: ModelFile) -> None:
    """It is noticed when the ring is closed."""
    device = Device("cuda:0", cuda)
    with watched(file, device) as ring:
        ring.fill(device.tensor(file.size), 0)
        cuda.streams[-1].error = RuntimeError("device-side assert triggered")
        with pytest.raises(RuntimeError, match="device-side assert"):
            ring.close()
    assert not cuda.pinned


def test_device_that_cannot_be_used(file: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_stream(device: Any) -> Any:
        raise RuntimeError("no such device")

    monkeypatch.setattr(torch.cuda, "Stream", no_stream)
    with pytest.raises(RuntimeError, match="no such device"):
        DeviceRing(file, "cuda:7")
