"""Models of 5 GiB go through every step that a vendor and a customer take, and come out as they were.

They take minutes, and gigabytes of disk and memory: `make test-large` runs them, and nothing else does.
"""

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cryptors import read_header
from tests.command_line import ROOT, as_process, environment
from tests.footprint import PeakWatch
from tests.huge.models import SIZE, WRITERS
from tests.huge.resources import need_disk, need_memory

pytestmark = pytest.mark.huge

CHUNK_BYTES = 16 * 1024 * 1024
GIB = 1024**3
DISK_BYTES = 3 * SIZE + GIB
"""The plaintext, the locked model, and the plaintext again when it has been decrypted."""
PEAKS = {"torch": 1.05, "safetensors": 1.05, "onnx": 2.05}
"""How much memory loading may take, in sizes of the model; ONNX Runtime copies what it is given."""
LAZY_PEAK = 0.05


@dataclass
class Scene:
    """A vendor, a customer's box without a GPU, and one model.

    Attributes:
        folder: where everything is.
        seconds: how long each step took.
    """

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.vendor, self.home = self.folder / "vendor", self.folder / "customer"
        self.locked, self.license = self.folder / "net.locked", self.folder / "acme.lic"
        self.request = self.folder / "box.req"
        as_process("vendor", "init", "--name", "Löwe AI", "--home", self.vendor).done()
        as_process("request", "-o", self.request, "--gpu", "none", "--home", self.home).done()

    def step(self, name: str, *arguments: str | Path) -> Any:
        """Runs a command, and returns what it said."""
        started = time.perf_counter()
        facts = as_process(*arguments, "--json").done().facts
        self.seconds[name] = time.perf_counter() - started
        return facts

    def load(self, model_type: str, how: str) -> float:
        """Loads the model with the license in a process of its own; returns the peak of memory in models' sizes."""
        arguments = (model_type, how, self.locked, self.license, self.vendor / "trust.jwks", self.home)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.huge.loading", *arguments],
            cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            assert process.stdout.readline() == "ready\n"
            with PeakWatch(process.pid) as watch:
                print(file=process.stdin, flush=True)
                self.seconds[f"load {how}"] = float(process.stdout.readline())
            print(file=process.stdin, flush=True)
            assert process.stdout.readline() == "checked\n"
        assert process.returncode == 0
        return (watch.peak - watch.before) / SIZE


def assert_same_files(found: Path, expected: Path) -> None:
    assert found.stat().st_size == expected.stat().st_size
    with open(found, "rb") as one, open(expected, "rb") as other:
        while chunk := one.read(CHUNK_BYTES):
            assert chunk == other.read(CHUNK_BYTES), f"before byte {one.tell()}"


@pytest.mark.parametrize("model_type", WRITERS)
def test_every_step(model_type: str, huge_folder: Path, measured: list[str]) -> None:
    need_disk(huge_folder, DISK_BYTES)
    need_memory(int(PEAKS[model_type] * SIZE) + GIB)
    (huge_folder / "plain").mkdir()
    model = WRITERS[model_type](huge_folder / "plain")
    content_bytes = sum(path.stat().st_size for path in (huge_folder / "plain").iterdir())
    assert content_bytes > SIZE
    scene = Scene(huge_folder)

    scene.step("encrypt", "encrypt", model, "-o", scene.locked, "--home", scene.vendor)
    facts = scene.step("inspect", "inspect", scene.locked)
    assert (facts["type"], facts["content_bytes"]) == (model_type, content_bytes)
    assert read_header(scene.locked).file_bytes == scene.locked.stat().st_size > SIZE
    terms = ("--customer", "Acme", "--days", "1", "--allow-no-gpu", "--home", scene.vendor)
    scene.step("issue", "issue", scene.request, "-m", scene.locked, *terms, "-o", scene.license)

    peak = scene.load(model_type, "whole")
    assert peak < PEAKS[model_type]
    if model_type != "onnx":
        assert scene.load(model_type, "lazy") < LAZY_PEAK

    plain = huge_folder / "again"
    scene.step("decrypt", "decrypt", scene.locked, "-o", plain, "--home", scene.vendor)
    for path in (huge_folder / "plain").iterdir():
        assert_same_files(plain / path.name if plain.is_dir() else plain, path)
    steps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in scene.seconds.items())
    measured.append(f"{model_type}: {steps}; memory at the peak of loading {peak:.3f} of the model")
