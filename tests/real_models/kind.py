"""A real model, and one form in which a vendor may ship it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptors import CryptorFactory, ModelType

__all__ = ["Arrays", "Kind", "RealModel", "forget", "kept"]

Arrays = dict[str, Any]
Made = TypeVar("Made")

_caches: list[Callable[[], None]] = []


def kept(make: Callable[..., Made]) -> Callable[..., Made]:
    """Keeps what a function makes, which several kinds use, until `forget`."""
    cached = functools.cache(make)
    _caches.append(cached.cache_clear)
    return cached


def forget() -> None:
    """Gives back what `kept` functions have made, about a gigabyte."""
    for clear in _caches:
        clear()


@dataclass(frozen=True)
class RealModel:
    """A network with its weights.

    Attributes:
        name: as the tests' names show it.
        architecture: what `--architecture` takes.
        module: makes the PyTorch module.
        inputs: makes what the module takes, by name.
    """

    name: str
    architecture: str
    module: Callable[[], Any]
    inputs: Callable[[], Arrays]

    @property
    def reference(self) -> Any:
        """What PyTorch computes: scores, or embeddings."""
        return _reference(self)


@kept
def _reference(model: RealModel) -> Any:
    import torch

    with torch.inference_mode():
        tensors = {name: torch.from_numpy(array) for name, array in model.inputs().items()}
        return model.module()(**tensors).numpy()


def load(kind: "Kind", locked: Path, content_key: bytes) -> Any:
    """Loads a locked model as an application does."""
    return CryptorFactory.instance(kind.model_type).load(locked, content_key, **kind.options)


@dataclass(frozen=True)
class Kind:
    """One form of a real model.

    Attributes:
        model: the model.
        form: the format, as the tests' names show it.
        model_type: its type.
        make: writes the plaintext into an empty folder, and returns what a vendor would give to `encrypt`.
        read: opens the plaintext with its framework alone.
        run: computes the model's output with what `read` and `load` return.
        inputs: what `weightlock run` would give this model; None where it cannot run here.
        options: what `load` needs beside a key.
        load: opens the locked model.
        only_bytes: whether nothing runs, because that needs a GPU: `read`, `load` and `run` give digests of files.
        agrees: how far the output may lie from PyTorch's, which shows that the model is the real one. From the
            plaintext's own it must not differ at all: all frameworks here repeat themselves to the last bit.
    """

    model: RealModel
    form: str
    model_type: ModelType
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    run: Callable[[Any], Any]
    inputs: Callable[[], Arrays] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    load: Callable[["Kind", Path, bytes], Any] = load
    only_bytes: bool = False
    agrees: float = 1e-4

    @property
    def name(self) -> str:
        """As the tests' names show it."""
        return f"{self.model.name}-{self.form}"
