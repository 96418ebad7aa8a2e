"""A random model: tensors of 64 MiB and a few smaller ones, written as safetensors without any library.

The other types are made from it (tools/bench/makers.py), so that all hold the same tensors.
"""

import json
import os
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tools.bench.settings import MIB

__all__ = ["COLUMNS", "TensorPlace", "read_layout", "tensor_sizes", "write_random_model"]

COLUMNS = 4096
"""Of every tensor: float32 rows of 16 KiB."""
ROW_BYTES = 4 * COLUMNS
LARGE_BYTES = 64 * MIB
PIECE_BYTES = 4 * MIB

_SIGN, _EXPONENT = 0x80, 0x3C
_FINITE = bytes(byte & _SIGN | _EXPONENT for byte in range(256))
"""What the highest byte of a random float32 becomes: a number of ±0.008 to ±0.03, as weights are, and no NaN."""


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor is in the file; its numbers are float32, in rows of `COLUMNS`."""

    name: str
    offset: int
    size: int

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.size // ROW_BYTES


def tensor_sizes(size: int) -> list[int]:
    """Returns how large the tensors of a model are: 64 MiB each, the last four about 16 MiB."""
    large = [LARGE_BYTES] * max(0, size // LARGE_BYTES - 1)
    quarter = (size - sum(large)) // (4 * ROW_BYTES) * ROW_BYTES
    return [*large, *[quarter] * 4]


def write_random_model(path: Path, size: int) -> None:
    """Writes a model of this size, and flushes it to the disk."""
    sizes = tensor_sizes(size)
    header, end = {}, 0
    for number, length in enumerate(sizes):
        shape = [length // ROW_BYTES, COLUMNS]
        header[f"layer.{number:04}"] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + length]}
        end += length
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    # As fast as the disk takes it, and nothing that a file system or a processor could compress.
    stream = Cipher(algorithms.AES(secrets.token_bytes(32)), modes.CTR(bytes(16))).encryptor()
    zeros = bytes(PIECE_BYTES)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for start in range(0, end, PIECE_BYTES):
            piece = bytearray(stream.update(zeros[: min(PIECE_BYTES, end - start)]))
            piece[3::4] = piece[3::4].translate(_FINITE)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def read_layout(path: Path) -> list[TensorPlace]:
    """Returns where the tensors of a file are that `write_random_model` wrote, in their order."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    places = {name: entry["data_offsets"] for name, entry in header.items()}
    return [TensorPlace(name, 8 + length + begin, end - begin) for name, (begin, end) in places.items()]
