"""ONNX models over 2 GiB, which one protobuf message cannot hold, and tensors over 2 GiB, which no file in memory may.

Their tables are zeros but for some rows, in sparse files: they are quickly written, and what is looked up in them tells
where in the memory it was read.
"""

import mmap
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from cryptors import CryptorFactory, ModelTypeError
from tests.command_line import here
from tests.cryptors.containers import CONTENT_KEY
from tests.licensed_box import LicensedBox
from tests.onnx_models import ExternalWriter, write_graph

pytestmark = [pytest.mark.slow, pytest.mark.large]

ONNX = CryptorFactory.instance("onnx")
COLUMNS = 500
ROW_BYTES = COLUMNS * 4
LEVELS = onnxruntime.GraphOptimizationLevel
FREE_BYTES = 15 * 10**9


def write_tables(folder: Path, tables: int, rows: int) -> tuple[Path, dict[str, Any]]:
    """Writes a model that looks rows up in several tables of one file and adds them.

    Returns:
        The `.onnx` file, and inputs that name the rows which are not zeros.
    """
    filled = {"i": np.array(sorted({*range(0, rows, rows // 20), rows - 1}))}
    writer = ExternalWriter(folder)
    tensors, nodes = [], []
    with open(folder / "weights.bin", "wb") as file:
        for number in range(tables):
            begin, length = number * rows * ROW_BYTES, rows * ROW_BYTES
            for row in filled["i"]:
                file.seek(begin + int(row) * ROW_BYTES)
                file.write(np.random.default_rng([number, row]).standard_normal(COLUMNS, np.float32).tobytes())
            place = {"offset": str(begin), "length": str(length)}
            tensors.append(writer.tensor(f"table {number}", TensorProto.FLOAT, [rows, COLUMNS], **place))
            nodes.append(helper.make_node("Gather", [f"table {number}", "i"], [f"rows {number}"]))
        file.truncate(tables * rows * ROW_BYTES)
    nodes.append(helper.make_node("Sum", [f"rows {number}" for number in range(tables)], ["y"]))
    output = (TensorProto.FLOAT, [len(filled["i"]), COLUMNS])
    return write_graph(folder / "tables.onnx", nodes, tensors, filled, output), filled


class Large:
    """A large model with its inputs and what its plaintext gives for them, which is gone afterwards."""

    def __init__(self, folder: Path, tables: int, rows: int) -> None:
        assert shutil.disk_usage(folder).free >= FREE_BYTES, "these tests write some GB"
        model, self.inputs = write_tables(folder, tables, rows)
        self.expected = onnxruntime.InferenceSession(model).run(None, self.inputs)[0]
        self.locked = folder / "tables.locked"
        self.header = ONNX.encrypt(model, CONTENT_KEY, self.locked)
        (folder / "weights.bin").unlink()
        assert np.count_nonzero(self.expected) == self.expected.size


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    """Three tables of 800 MB each in one file of 2.4 GB."""
    folder = tmp_path_factory.mktemp("several")
    yield Large(folder, tables=3, rows=400_000)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    """One table of 2.2 GB."""
    folder = tmp_path_factory.mktemp("single")
    yield Large(folder, tables=1, rows=1_100_000)
    shutil.rmtree(folder)


def assert_same_outputs(model: Large, level: Any) -> None:
    """Asserts it several times, and after the memory that held the plaintext was given to somebody else."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = ONNX.load(model.locked, CONTENT_KEY, sess_options=options)
    assert session.run(None, model.inputs)[0].tobytes() == model.expected.tobytes()
    with mmap.mmap(-1, 2**31) as other:
        for page in range(0, len(other), mmap.PAGESIZE):
            other[page] = 0xAA
        for _ in range(2):
            assert session.run(None, model.inputs)[0].tobytes() == model.expected.tobytes()


def test_several_tables(several: Large) -> None:
    assert_same_outputs(several, LEVELS.ORT_ENABLE_ALL)


@pytest.mark.parametrize("level", [LEVELS.ORT_ENABLE_ALL, LEVELS.ORT_DISABLE_ALL], ids=["optimized", "not optimized"])
def test_single_table(single: Large, level: Any) -> None:
    assert_same_outputs(single, level)


def test_decrypt_says_that_no_file_could_hold_it(several: Large, single: Large) -> None:
    for model in (several, single):
        with pytest.raises(ModelTypeError) as caught:
            ONNX.decrypt(model.locked, CONTENT_KEY)
        assert caught.value.reason == "model_too_large"
        assert "load()" in caught.value.hints[0]


def test_run(several: Large, licensed_box: LicensedBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licensing.unlock.read_hardware", lambda: licensed_box.hardware)
    license = licensed_box.license(tmp_path / "acme.lic", [(several.header, CONTENT_KEY)])
    np.savez(tmp_path / "i.npz", **several.inputs)
    files = ("--input", tmp_path / "i.npz", "--output", tmp_path / "y.npz")
    here("run", several.locked, *licensed_box.arguments(license), *map(str, files)).done()
    with np.load(tmp_path / "y.npz", allow_pickle=False) as found:
        assert found["y"].tobytes() == several.expected.tobytes()
