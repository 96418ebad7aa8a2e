"""How much memory ONNX models take that have several matrices, as most do.

ONNX Runtime copies what it is given, packs one matrix after the other, and lets go of each when it is packed: beside
the two copies there is one matrix more. The contract suite measures the worst case, a single one.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from cryptors import CryptorFactory, read_header
from licensing.content_key import new_content_key
from tests.command_line import ROOT
from tests.contract.test_memory import load
from tests.footprint import PeakWatch
from tests.onnx_models import ExternalWriter, inside, write_graph

pytestmark = pytest.mark.slow

LAYERS, WIDTH = 10, 1810


def lock(folder: Path, width: int, external: bool) -> Path:
    """Locks a model of some layers, and returns the locked one."""
    model = folder / str(width)
    model.mkdir()
    tensor = ExternalWriter(model) if external else inside
    chance = np.random.default_rng(1)
    names = ["x", *(f"h{layer}" for layer in range(1, LAYERS)), "y"]
    nodes = [helper.make_node("MatMul", [names[layer], f"w{layer}"], [names[layer + 1]]) for layer in range(LAYERS)]
    weights = [tensor(f"w{layer}", chance.random((width, width), np.float32)) for layer in range(LAYERS)]
    x: Any = np.zeros((2, width), np.float32)
    write_graph(model / "m.onnx", nodes, weights, {"x": x}, (1, [2, width]))
    locked = folder / f"{width}.locked"
    CryptorFactory.instance("onnx").encrypt(model / "m.onnx", folder / "key", locked)
    return locked


@pytest.mark.parametrize("external", [False, True], ids=["one file", "external data"])
def test_memory(external: bool, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    (tmp_path / "key").write_bytes(new_content_key())
    tiny, large = lock(tmp_path, 1, external), lock(tmp_path, WIDTH, external)
    command = [sys.executable, "-m", "tests.contract.alone", str(tmp_path / "key"), "{}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        load(process, tiny)
        with PeakWatch(process.pid) as watch:
            load(process, large)
    size = read_header(large).content_bytes
    peak, held = ((bytes - watch.before) / size for bytes in (watch.peak, watch.after))
    record_property("peak", f"{peak:.2f}")
    print(f"{size / 1e6:.0f} MB took {peak:.2f} × its size to load and {held:.2f} × afterwards")
    assert size > 100_000_000
    assert peak <= 2 + 1 / LAYERS + 0.1
    assert held <= 1.1
