"""Models of 5 GiB whose content tells where in the model it stands.

Their weights are zeros but for one number at the beginning of each mebibyte, which says which mebibyte it is: what was
read from a wrong place shows, beyond 4 GiB as well, and a sparse file of it is written at once.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

__all__ = ["INPUTS", "MIB", "SIZE", "WRITERS", "check_outputs", "check_tensor"]

MIB = 1024 * 1024
SIZE = 5 * 1024 * MIB
MEBIBYTES = {"embedding": range(4592), "head": range(4592, 5104), "bias": range(5104, 5120)}
"""The tensors, by their mebibytes of the model. The first is longer than 4 GiB, and the others lie behind that."""

NUMBER_BYTES = 8
STEP = MIB // NUMBER_BYTES
COLUMNS = 128
ROWS = SIZE // 2 // (COLUMNS * NUMBER_BYTES)
"""The ONNX model has two tables of so many rows."""
INPUTS = {"rows": np.arange(0, ROWS, STEP // COLUMNS)}
"""The rows that begin a mebibyte."""


def marks(mebibytes: range) -> Any:
    """Returns the numbers at the beginning of some mebibytes."""
    return 0x5EED_0000_0000 + np.array(mebibytes, np.int64)


def check_tensor(name: str, values: Any) -> None:
    """Asserts that the values of a tensor, as a flat array, are its marks, and zeros elsewhere."""
    expected = marks(MEBIBYTES[name])
    found = values.reshape(len(expected), STEP)
    assert (found[:, 0] == expected).all()
    # In rows, because NumPy would take an eighth of the tensor's memory to compare it at once.
    assert sum(int(np.count_nonzero(row)) for row in found) == len(expected)


def check_outputs(outputs: Any) -> None:
    """Asserts that the ONNX model's output for INPUTS is what its tables hold there."""
    expected = np.zeros((SIZE // MIB, COLUMNS), np.int64)
    expected[:, 0] = marks(range(SIZE // MIB))
    assert (outputs == expected).all()


def write_torch(folder: Path) -> Path:
    """Writes a state dict with `torch.save`, which takes its time: 5 GiB really go to the disk."""
    import torch

    tensors = {}
    for name, mebibytes in MEBIBYTES.items():
        with open(folder / name, "wb") as file:
            write_marks(file, mebibytes)
        tensors[name] = torch.from_file(str(folder / name), size=len(mebibytes) * STEP, dtype=torch.int64)
        (folder / name).unlink()
    torch.save(tensors, folder / "net.pth")
    return folder / "net.pth"


def write_safetensors(folder: Path) -> Path:
    """Writes one sparse file."""
    header = {
        name: {
            "dtype": "I64",
            "shape": [len(mebibytes) * STEP],
            "data_offsets": [mebibytes.start * MIB, mebibytes.stop * MIB],
        }
        for name, mebibytes in MEBIBYTES.items()
    }
    text = json.dumps(header).encode()
    with open(folder / "net.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        write_marks(file, range(SIZE // MIB))
    return folder / "net.safetensors"


def write_onnx(folder: Path) -> Path:
    """Writes a model that looks rows up in two tables of 2.5 GiB, which lie in one sparse file of external data."""
    from onnx import TensorProto, helper

    from tests.onnx_models import ExternalWriter, write_graph

    writer = ExternalWriter(folder)
    with open(folder / "weights.bin", "wb") as file:
        write_marks(file, range(SIZE // MIB))
    places = {"low": {"offset": "0", "length": str(SIZE // 2)}, "high": {"offset": str(SIZE // 2)}}
    places["high"]["length"] = str(SIZE // 2)
    tables = [writer.tensor(name, TensorProto.INT64, [ROWS, COLUMNS], **place) for name, place in places.items()]
    nodes = [helper.make_node("Gather", [name, "rows"], [f"{name} rows"]) for name in places]
    nodes.append(helper.make_node("Concat", [f"{name} rows" for name in places], ["y"], axis=0))
    return write_graph(folder / "net.onnx", nodes, tables, INPUTS, (TensorProto.INT64, [SIZE // MIB, COLUMNS]))


def write_marks(file: BinaryIO, mebibytes: range) -> None:
    """Writes mebibytes behind what is in the file; nearly all of them are holes."""
    begin = file.tell()
    for number, mark in enumerate(marks(mebibytes)):
        file.seek(begin + number * MIB)
        file.write(mark.tobytes())
    file.truncate(begin + len(mebibytes) * MIB)


WRITERS: dict[str, Callable[[Path], Path]] = {
    "torch": write_torch,
    "safetensors": write_safetensors,
    "onnx": write_onnx,
}
