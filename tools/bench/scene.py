"""The files of a run: plaintext models and their locked counterparts, in a private temporary folder."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptors import CryptorFactory, EncryptOptions
from cryptors.reader import LockedModel
from licensing.content_key import content_key_base64, new_content_key
from tools.bench.makers import MAKERS
from tools.bench.process import Worker
from tools.bench.random_model import read_layout, write_random_model

__all__ = ["RANDOM_TYPE", "TINY_ONNX", "ModelFiles", "Scene"]

RANDOM_TYPE = "safetensors"
"""The type that the random model has by itself."""

TINY_ONNX = "tiny_onnx"
"""Of the makers, the one that makes an ONNX model of 1 MiB in one file."""


@dataclass(frozen=True)
class ModelFiles:
    """One model, as plaintext and locked.

    Attributes:
        kind: its type.
        path: what a framework is told.
        files: all its files.
        locked: the locked model.
        model_id: the locked model's.
        size: bytes of the plaintext.
        tensor: a tensor to take out by itself, if its name is known.
        given: whether it is a model of the user's.
    """

    kind: str
    path: Path
    files: tuple[Path, ...]
    locked: Path
    model_id: str
    size: int
    tensor: str | None
    given: bool


class Scene:
    """Makes models in a folder, all under one content key, which nobody else gets to know.

    Args:
        folder: an empty folder.
        threads: how many threads work.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder = folder
        self.threads = threads
        self.content_key = new_content_key()
        self._base: Path | None = None

    @property
    def key(self) -> str:
        """The content key, as jobs take it."""
        return content_key_base64(self.content_key)

    def base(self, size: int) -> Path:
        """Returns the random model, which is made on the first call."""
        if self._base is None:
            self._base = self.folder / "model.safetensors"
            write_random_model(self._base, size)
        return self._base

    def make(self, kind: str, size: int) -> ModelFiles:
        """Makes a model of a type from the random one.

        Raises:
            WorkerError: its framework is missing, or failed.
        """
        base = self.base(size)
        if kind == RANDOM_TYPE:
            path = base
        else:
            path = self.folder / kind / MAKERS[kind][0]
            path.parent.mkdir()
            job = {"job": "make", "type": kind, "base": str(base), "path": str(path)}
            with Worker(job, self.threads, self.folder) as worker:
                worker.run(self.threads)
        has_tensors = kind in ("torch", "safetensors")
        return self._lock(kind, path, read_layout(base)[-1].name if has_tensors else None, given=False)

    def take(self, kind: str, path: Path) -> ModelFiles:
        """Takes a model of the user's."""
        return self._lock(kind, path, None, given=True)

    def forget(self, kind: str) -> None:
        """Removes what was made of a type that turned out not to work."""
        if kind != RANDOM_TYPE:
            shutil.rmtree(self.folder / kind, ignore_errors=True)

    def job(self, name: str, model: ModelFiles, **arguments: Any) -> dict[str, Any]:
        """Returns what a worker is told about a job on a model."""
        paths = {"path": str(model.path), "locked": str(model.locked)}
        return {"job": name, "type": model.kind, "key": self.key, **paths, "bytes": model.size, **arguments}

    def _lock(self, kind: str, path: Path, tensor: str | None, given: bool) -> ModelFiles:
        locked = self.folder / f"{kind}.locked"
        cryptor = CryptorFactory.instance("onnx" if kind == TINY_ONNX else kind)
        model_id = cryptor.encrypt(path, self.content_key, locked, EncryptOptions(threads=self.threads)).model_id
        with LockedModel(locked, self.content_key, self.threads) as model:
            size = model.header.content_bytes
            folder = path if path.is_dir() else path.parent
            inside = tuple(folder / file.path for file in model.index.files)
            files = inside if model.index.directory else (path,)
        if not given:
            _flush(files)
        return ModelFiles(kind, path, files, locked, model_id, size, tensor, given)


def _flush(files: tuple[Path, ...]) -> None:
    """Writes files to the disk now, and not while something is measured."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
