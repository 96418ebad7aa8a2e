"""State dicts that `paddle.save` wrote (`.pdparams`, `.pdopt`), read as they are decrypted."""

import io
import warnings
from collections.abc import Callable
from typing import Any

from cryptors.errors import ModelRejectedError
from cryptors.paddle_inference import OnDevice
from cryptors.paddle_pickle import check_weights_only
from cryptors.torch_cryptor import build_architecture

__all__ = ["fill_layer", "is_pickle", "load_state_dict"]


def is_pickle(file: Any) -> bool:
    """Returns whether a file, read from its beginning, is a pickle of protocol 2 or later, as Paddle writes them."""
    return bool(file.read(1) == b"\x80")


def load_state_dict(
    paddle: Any, open_file: Callable[[], Any], gpu: int | None, weights_only: bool, return_numpy: bool
) -> Any:
    """Returns what `paddle.load` makes of a pickle.

    The file is read twice: first to see that it holds nothing but weights. Reading it again costs less memory than
    keeping it: tensors come out of it one by one.

    Args:
        paddle: the module.
        open_file: opens the file from its beginning.
        gpu: where tensors go; None for the CPU.
        weights_only: False allows pickles that can run code.
        return_numpy: whether NumPy arrays are to come instead of tensors.

    Raises:
        UnsafePickleError: the pickle is more than weights.
    """
    if weights_only:
        with open_file() as file:
            check_weights_only(file)
    with open_file() as file, OnDevice(paddle, gpu):
        return paddle.load(_Unread(file), return_numpy=return_numpy)


def fill_layer(architecture: str, state_dict: Any, paddle: Any, gpu: int | None) -> Any:
    """Returns the layer that the named code builds, with this state dict loaded into it, ready to infer.

    Raises:
        UsageError: the name leads to no such code, or the code fails.
        ModelRejectedError: the state dict is not the layer's.
    """
    with OnDevice(paddle, gpu):
        layer = build_architecture(architecture)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Paddle only warns of what is an error below.
            missing, unexpected = layer.set_state_dict(state_dict)
    if missing or unexpected:
        name = (*missing, *unexpected)[0]
        raise ModelRejectedError(f"the state dict is not that of {architecture!r}: they differ in {name[:200]!r}")
    layer.eval()
    return layer


class _Unread(io.BytesIO):
    """What passes for a `BytesIO`, the only open file that `paddle.load` takes, and reads from another file.

    Args:
        file: the file to read from.
    """

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file = file

    def read(self, size: int | None = -1, /) -> bytes:
        data: bytes = self._file.read(size)
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        line: bytes = self._file.readline(size)
        return line

    def readinto(self, buffer: Any, /) -> int:
        count: int = self._file.readinto(buffer)
        return count

    def seek(self, offset: int, whence: int = 0, /) -> int:
        position: int = self._file.seek(offset, whence)
        return position

    def tell(self) -> int:
        position: int = self._file.tell()
        return position
