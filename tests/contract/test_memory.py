"""How much memory it takes to load a model: about one copy of it, where the framework allows that."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cryptors import CryptorFactory, read_header
from licensing.content_key import new_content_key
from tests.command_line import ROOT
from tests.contract.case import Case
from tests.contract.cases import CASES
from tests.contract.networks import LARGE, TINY
from tests.footprint import PeakWatch

pytestmark = pytest.mark.slow

BUFFERS = 8 * 1024 * 1024
"""What loading takes for its threads and their buffers, however large the model is."""


@pytest.mark.parametrize("case", [case for case in CASES if case.is_real], ids=lambda case: case.name)
def test_peak(case: Case, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """What the framework makes once, such as its threads, is there since a tiny model was loaded before."""
    (tmp_path / "key").write_bytes(new_content_key())
    tiny, large = (lock(case, width, tmp_path) for width in (TINY, LARGE))
    command = [sys.executable, "-m", "tests.contract.alone", str(tmp_path / "key"), json.dumps(case.options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        load(process, tiny)
        with PeakWatch(process.pid) as watch:
            load(process, large)
    size = read_header(large).content_bytes
    peak, held = ((bytes - watch.before - BUFFERS) / size for bytes in (watch.peak, watch.after))
    record_property("peak", f"{peak:.2f}")
    print(f"{case.name}: {size / 1e6:.0f} MB took {peak:.2f} × its size to load and {held:.2f} × afterwards")
    assert size > 100_000_000
    assert peak <= case.peak


def lock(case: Case, width: int, folder: Path) -> Path:
    plain, locked = folder / str(width), folder / f"{width}.locked"
    plain.mkdir()
    CryptorFactory.instance(case.model_type).encrypt(case.make(plain, width), folder / "key", locked)
    return locked


def load(process: "subprocess.Popen[str]", locked: Path) -> None:
    """Lets the process load a model, and waits until it has."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{locked}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "loaded\n"
