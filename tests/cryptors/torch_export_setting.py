"""What the tests of the torch.export cryptor share: a small program, and archives that were tampered with."""

import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cryptors import CryptorFactory
from tests.cryptors.containers import CONTENT_KEY
from tests.refusals import assert_refused

__all__ = [
    "EXPORT", "Scale", "X", "assert_refused", "export", "load", "lock", "rewritten", "save_as_before", "saved",
    "warnings_of",
]  # fmt: skip

EXPORT = CryptorFactory.instance("torch_export")
X = torch.arange(6.0).reshape(2, 3)


class Scale(torch.nn.Module):  # type: ignore[misc]
    """Multiplies by a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x * self.weight)


def warnings_of(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= logging.WARNING]


def export(module: Any, arguments: tuple[Any, ...] = (X,), **options: Any) -> Any:
    return torch.export.export(module.eval(), arguments, **options)


def lock(path: Path) -> Path:
    locked = path.parent / "model.locked"
    EXPORT.encrypt(path, CONTENT_KEY, locked)
    return locked


def saved(folder: Path, program: Any) -> Path:
    torch.export.save(program, folder / "model.pt2")
    return folder / "model.pt2"


def load(folder: Path, program: Any, **options: Any) -> Any:
    return EXPORT.load(lock(saved(folder, program)), CONTENT_KEY, **options)


def rewritten(path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Writes an archive again, with the content of each member changed; those that become None are left out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: change(name.partition("/")[2], archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)
    return path


def save_as_before(path: Path, program: Any, state: bytes | None = None) -> Path:
    """Writes what `torch.export.save` wrote until PyTorch 2.7."""
    from torch._export.serde.schema import SCHEMA_VERSION
    from torch._export.serde.serialize import serialize

    artifact = serialize(program)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", artifact.exported_program)
        archive.writestr("serialized_state_dict.pt", state or artifact.state_dict)
        archive.writestr("serialized_constants.pt", artifact.constants)
        archive.writestr("serialized_example_inputs.pt", artifact.example_inputs)
        archive.writestr("version", ".".join(map(str, SCHEMA_VERSION)))
    return path
