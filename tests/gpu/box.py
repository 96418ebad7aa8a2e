"""A vendor and a customer on this very machine: licenses here are bound to its GPUs as NVML reports them."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptors.errors import FrameworkMissingError
from cryptors.tensorrt_device import use_gpu
from licensing.hardware import Hardware, read_hardware
from tests.command_line import as_process, here

__all__ = ["GpuBox", "box"]


@dataclass(frozen=True)
class GpuBox:
    """This machine, as a customer's box.

    Attributes:
        folder: where everything is.
        hardware: as it was measured.
    """

    folder: Path
    hardware: Hardware

    @property
    def vendor(self) -> Path:
        return self.folder / "vendor"

    @property
    def home(self) -> Path:
        return self.folder / "customer"

    def unlocking(self, license: Path) -> dict[str, Any]:
        """Returns the arguments with which `load_model` uses a license here; the hardware is measured anew."""
        return {"license": license, "trust": self.home / "trust.jwks", "home": self.home}

    def lock(self, model: Path) -> tuple[Path, Path]:
        """Locks a model and issues a license for it, bound to the GPUs of this box; returns both."""
        locked, license = model.with_suffix(".locked"), model.with_suffix(".lic")
        here("encrypt", model, "-o", locked, "--home", self.vendor).done()
        terms = ("--customer", "Acme", "--days", "1", "--home", self.vendor)
        here("issue", self.folder / "box.req", "-m", locked, *terms, "-o", license).done()
        return locked, license

    def run(self, model: Path, arrays: dict[str, Any], *options: str) -> dict[str, Any]:
        """Locks a model, runs it on the first GPU as a process of its own, and returns what it wrote.

        The process has a directory of its own for temporary files, in which nothing may be left.
        """
        locked, license = self.lock(model)
        scratch = model.parent / "scratch"
        scratch.mkdir()
        np.savez(model.parent / "x.npz", **arrays)
        files = ("--input", model.parent / "x.npz", "--output", model.parent / "y.npz")
        customer = ("--license", license, "--home", self.home, "--device", "cuda:0")
        variables = {"TMPDIR": str(scratch)}
        ended = as_process("run", locked, *customer, *files, *options, variables=variables, timeout=300)
        assert ended.code == 0, ended
        assert os.listdir(scratch) == []
        with np.load(model.parent / "y.npz", allow_pickle=False) as found:
            return dict(found)


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> GpuBox:
    """Skips where there is no GPU."""
    try:
        use_gpu("cuda:0")
    except FrameworkMissingError:
        pytest.skip("CUDA finds no GPU here")
    made = GpuBox(tmp_path_factory.mktemp("gpu"), read_hardware())
    here("vendor", "init", "--name", "Löwe AI", "--home", made.vendor).done()
    here("request", "-o", made.folder / "box.req", "--gpu", "all", "--home", made.home).done()
    shutil.copy(made.vendor / "trust.jwks", made.home)
    return made
