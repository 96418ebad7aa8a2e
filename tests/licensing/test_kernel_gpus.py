"""The list of the kernel's driver: a text for people, with parts missing where containers and idle GPUs are."""

from pathlib import Path

import pytest

from licensing.kernel_gpus import KernelGpus, read_kernel_gpus

FIRST, SECOND = "GPU-5b1f3c2d-7e84-4a96-b0d1-92c3e4f5a6b7", "GPU-0f5a7c52-29a1-4d3b-9b7e-0d5c3f9a1b2c"
IDLE = "GPU-????????-????-????-????-????????????"

INFORMATION = """Model: \t\t NVIDIA H200
IRQ:   \t\t 147
GPU UUID: \t {uuid}
Video BIOS: \t 96.00.99.00.01
Bus Type: \t PCIe
DMA Size: \t 52 bits
DMA Mask: \t 0xfffffffffffff
Bus Location: \t 0000:{bus}:00.0
Device Minor: \t 0
GPU Firmware: \t 570.86.15
GPU Excluded:\t No
"""


def listed(folder: Path, *uuids: str) -> Path:
    for number, uuid in enumerate(uuids):
        place = folder / f"0000:{number:02x}:00.0"
        place.mkdir(parents=True)
        (place / "information").write_text(INFORMATION.format(uuid=uuid, bus=f"{number:02x}"))
    return folder


def test_all_gpus(tmp_path: Path) -> None:
    found = read_kernel_gpus(listed(tmp_path / "gpus", FIRST, SECOND), proc=tmp_path)
    assert found == KernelGpus(frozenset({FIRST, SECOND}), is_complete=True)


def test_gpu_that_nothing_has_used_yet(tmp_path: Path) -> None:
    found = read_kernel_gpus(listed(tmp_path / "gpus", FIRST, IDLE), proc=tmp_path)
    assert found == KernelGpus(frozenset({FIRST}), is_complete=False)


def test_list_that_a_container_lies_over(tmp_path: Path) -> None:
    """NVIDIA's container runtime shows some of the GPUs, on a file system of its own."""
    found = read_kernel_gpus(listed(tmp_path / "gpus", FIRST), proc=Path("/proc"))
    assert found == KernelGpus(frozenset({FIRST}), is_complete=False)


def test_no_list(tmp_path: Path) -> None:
    assert read_kernel_gpus(tmp_path / "gpus", proc=tmp_path) is None
    (tmp_path / "gpus").mkdir()
    assert read_kernel_gpus(tmp_path / "gpus", proc=tmp_path) is None


@pytest.mark.parametrize("text", [b"", b"Model: x\n", b"GPU UUID: \n", b"\xff\xfe\n", b"GPU UUID: GPU-1\n"])
def test_information_that_says_no_uuid(text: bytes, tmp_path: Path) -> None:
    folder = listed(tmp_path / "gpus", FIRST, SECOND)
    (folder / "0000:01:00.0" / "information").write_bytes(text)
    assert read_kernel_gpus(folder, proc=tmp_path) == KernelGpus(frozenset({FIRST}), is_complete=False)
    (folder / "0000:01:00.0" / "information").unlink()
    assert read_kernel_gpus(folder, proc=tmp_path) == KernelGpus(frozenset({FIRST}), is_complete=False)
