"""Telling a pickle that holds only weights from one that could run code, before Paddle loads it.

`paddle.load` has no safe mode: it hands the file to Python's unpickler, which calls whatever the file names. So the
file is unpickled once before, by the same unpickler, but with nothing that could be called except what `paddle.save`
writes into state dicts; and in place of those stand functions that check their arguments and build nothing. What comes
of it is thrown away. NumPy is checked down to its arguments because its types trust them: a made-up array type can
make it write anywhere.
"""

import pickle
import re
from collections.abc import Callable
from typing import Any, BinaryIO

from cryptors.errors import UnsafePickleError

__all__ = ["check_weights_only"]

_NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16)")
"""The names of NumPy's types of numbers."""


def check_weights_only(file: BinaryIO) -> None:
    """Reads a pickle to its end, and refuses one that is more than weights.

    Args:
        file: the pickle, from its beginning.

    Raises:
        UnsafePickleError: loading it could run code.
        Exception: whatever else the unpickler finds wrong with it.
    """
    _WeightsOnly(file, encoding="latin1").load()


class _WeightsOnly(pickle.Unpickler):
    """Python's unpickler, with nothing to call that does anything."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get((module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins"), name))
        if allowed is None:
            raise _unsafe(f"it names {_shown(module)}.{_shown(name)}")
        return allowed


class _Type:
    """In place of a `numpy.dtype`."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        version, order, *others = state
        if version != 3 or order not in ("<", ">", "|", "=") or others != [None, None, None, -1, -1, 0]:
            raise _unsafe("an array is not of numbers")


class _Array:
    """In place of a `numpy.ndarray`."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, _, data = state
        plain = isinstance(shape, tuple) and all(type(size) is int for size in shape)
        if version != 1 or not plain or type(dtype) is not _Type or type(data) not in (bytes, str):
            raise _unsafe("an array is not of numbers")


class _Callable:
    """In place of what `paddle.save` calls. The unpickler can only call it, with arguments that it checks itself."""

    __slots__ = ("_check",)

    def __init__(self, check: Callable[..., Any]) -> None:
        self._check = check

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._check(*arguments)
        except (TypeError, ValueError) as cause:
            raise _unsafe("something is made in an unknown way") from cause

    def __setstate__(self, state: Any) -> None:
        raise _unsafe("it changes a function")


def _dtype(name: Any, align: Any, copy: Any) -> _Type:
    if type(name) is not str or not _NUMBERS.fullmatch(name):
        raise _unsafe("an array is not of numbers")
    return _Type()


def _array_class() -> None:
    """In place of the class `numpy.ndarray`, which is named, and never called."""
    raise _unsafe("an array is made in an unknown way")


def _reconstruct(kind: Any, shape: Any, name: Any) -> _Array:
    if kind is not _ALLOWED["numpy", "ndarray"] or shape != (0,) or name not in (b"b", "b"):
        raise _unsafe("an array is made in an unknown way")
    return _Array()


def _scalar(dtype: Any, data: Any) -> float:
    if type(dtype) is not _Type or type(data) not in (bytes, str):
        raise _unsafe("a number is made in an unknown way")
    return 0.0


def _encode(text: Any, encoding: Any) -> bytes:
    """In place of `codecs.encode`, by which the older protocols write bytes."""
    if type(text) is not str or encoding != "latin1":
        raise _unsafe("it encodes a text")
    return text.encode(encoding)


def _no_bytes() -> bytes:
    """In place of `bytes`, by which the older protocols write those of an empty array."""
    return b""


def _ordered_dict() -> dict[Any, Any]:
    return {}


def _tuple(items: Any) -> tuple[Any, ...]:
    """In place of `tuple`, by which Paddle writes a tensor with its name."""
    if type(items) is not tuple:
        raise _unsafe("a tuple is made in an unknown way")
    return items


_ALLOWED: dict[tuple[str, str], _Callable] = {
    ("numpy.core.multiarray", "_reconstruct"): _Callable(_reconstruct),
    ("numpy.core.multiarray", "scalar"): _Callable(_scalar),
    ("numpy", "ndarray"): _Callable(_array_class),
    ("numpy", "dtype"): _Callable(_dtype),
    ("_codecs", "encode"): _Callable(_encode),
    ("collections", "OrderedDict"): _Callable(_ordered_dict),
    ("builtins", "tuple"): _Callable(_tuple),
    ("builtins", "bytes"): _Callable(_no_bytes),
}


def _shown(name: str) -> str:
    """Returns a name as a message can show it: it comes from the pickle, and a terminal obeys some characters."""
    return "".join(character if character.isprintable() else "�" for character in name[:100]).rstrip(".") or "(nothing)"


def _unsafe(detail: str) -> UnsafePickleError:
    return UnsafePickleError(
        f"the model is a pickle that is more than weights, and loading it could run code: {detail}",
        "if you trust its vendor as you trust a program's author: weights_only=False, or --allow-pickle",
    )
