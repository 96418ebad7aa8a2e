"""The ring into a real GPU's memory: every bit, pinned, bounded on the host; and how fast it is."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cryptors import CryptorFactory
from cryptors.device_ring import DeviceRing
from cryptors.errors import ModelDamagedError
from cryptors.reader import LockedModel, ModelFile
from cryptors.stream import SEGMENT_BYTES
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.gpu.box import GpuBox

pytestmark = pytest.mark.gpu

WEIGHTS = random.Random(1).randbytes(40 * SEGMENT_BYTES + 54321)


@pytest.fixture
def file(box: GpuBox, tmp_path: Path) -> Iterator[ModelFile]:
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch finds no GPU")
    path = write_container(tmp_path / "model.locked", {"before": b"1" * 777_777, "weights": WEIGHTS})
    with LockedModel(path, CONTENT_KEY, threads=4) as model:
        yield model.file("weights")


def bytes_on_gpu(length: int) -> Any:
    return torch.full((length,), 0xAA, dtype=torch.uint8, device="cuda:0")


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_parts_in_any_order(file: ModelFile, slots: int) -> None:
    """Each is used on the current stream at once; and then all again, in memory that was just given back."""
    whole = torch.frombuffer(bytearray(WEIGHTS), dtype=torch.uint8).cuda()
    choice = random.Random(slots)
    starts = sorted(choice.sample(range(file.size), 40)) + choice.sample(range(file.size), 10)
    with DeviceRing(file, "cuda:0", slots=slots, slot_segments=2) as ring:
        assert getattr(ring._copies, "_pinned", False)
        for start in [*starts, 0]:
            end = file.size if start == 0 else min(file.size, start + choice.randrange(5 * SEGMENT_BYTES))
            target = bytes_on_gpu(end - start)
            ring.fill(target, start)
            assert torch.equal(target.clone(), whole[start:end])


def test_on_another_stream(file: ModelFile) -> None:
    with torch.cuda.stream(torch.cuda.Stream()), DeviceRing(file, "cuda:0", slots=2, slot_segments=2) as ring:
        target = bytes_on_gpu(file.size)
        ring.fill(target, 0)
        copy = target.clone()
        torch.cuda.current_stream().synchronize()
        assert copy.cpu().numpy().tobytes() == WEIGHTS


def test_memory_that_cannot_be_pinned(file: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error that CUDA keeps is in no thread that goes on: kernels are launched after it."""
    real, results = torch.cuda.cudart(), []

    def refuse(address: int, size: int, flags: int) -> Any:
        results.append(int(real.cudaHostRegister(0, 0, flags)))
        return results[-1]

    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "cudart", lambda: SimpleNamespace(cudaHostRegister=refuse))
        ring = DeviceRing(file, "cuda:0")
    assert results[0] != 0
    with ring:
        target = bytes_on_gpu(file.size)
        ring.fill(target, 0)
        assert (target + 0).cpu().numpy().tobytes() == WEIGHTS


def test_damaged_model(file: ModelFile, tmp_path: Path) -> None:
    data = bytearray((tmp_path / "model.locked").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.locked").write_bytes(data)
    model = LockedModel(tmp_path / "damaged.locked", CONTENT_KEY)
    with model, DeviceRing(model.file("weights"), "cuda:0") as ring, pytest.raises(ModelDamagedError):
        ring.fill(bytes_on_gpu(len(WEIGHTS)), 0)
    assert int(bytes_on_gpu(10).sum()) == 1700, "the GPU goes on"


# In a process of its own, because the kernel's mark of the highest memory use is the process's.
LOAD = """
import re, sys, time, torch
from pathlib import Path
from cryptors import CryptorFactory

def peak_mib():
    return int(re.search("VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1]) // 1024

folder, kind, options = Path(sys.argv[1]), sys.argv[2], {sys.argv[3]: "cuda:0"}
cryptor, key = CryptorFactory.instance(kind), bytes(range(32))
cryptor.load(folder / "small.locked", key, **options)
torch.ones(1000, device="cuda:0").sum().item()
before, seconds = peak_mib(), []
for _ in range(5):
    loaded = None
    torch.cuda.synchronize()
    start = time.perf_counter()
    loaded = cryptor.load(folder / "large.locked", key, **options)
    torch.cuda.synchronize()
    seconds.append(time.perf_counter() - start)
more = peak_mib() - before
size = sum(tensor.nbytes for tensor in loaded.values())
for name, tensor in torch.load(folder / "large.pth", mmap=True).items():
    assert torch.equal(loaded[name].cpu().view(torch.int16), tensor.view(torch.int16)), name
print(f"{size / sorted(seconds)[2] / 1e9:.2f} GB/s, {more} MiB more on the host")
assert more < size / 2**20 / 2, more
"""


@pytest.mark.parametrize(("kind", "option"), [("torch", "map_location"), ("safetensors", "device")])
def test_model_of_a_gigabyte(
    box: GpuBox, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, option: str
) -> None:
    """Through the cryptor, as users do it. The ring takes 8 MiB for each thread and a little more, not a gigabyte."""
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch finds no GPU")
    module = pytest.importorskip("safetensors.torch")
    large = {f"layer{n}": torch.randint(-(2**15), 2**15, (2**25 + n,), dtype=torch.int16) for n in range(16)}
    for name, state in (("small", {"one": torch.ones(3)}), ("large", large)):
        state = {key: tensor.view(torch.bfloat16) if name == "large" else tensor for key, tensor in state.items()}
        torch.save(state, tmp_path / f"{name}.pth")
        module.save_file(state, tmp_path / f"{name}.safetensors")
        model = tmp_path / f"{name}.{'pth' if kind == 'torch' else kind}"
        CryptorFactory.instance(kind).encrypt(model, CONTENT_KEY, tmp_path / f"{name}.locked")
    ended = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path), kind, option], capture_output=True, check=False, text=True
    )
    with capsys.disabled():
        print(f"\n{kind} to the GPU: {ended.stdout.strip()}")
    assert ended.returncode == 0, ended.stderr
