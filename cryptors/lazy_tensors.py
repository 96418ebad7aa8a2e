"""Tensors of a locked model that are decrypted one by one, each when it is asked for."""

import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from cryptors.memory import PlaintextMemory, wipe
from cryptors.reader import LockedModel, ModelFile
from licensing.errors import UsageError

__all__ = ["LazySlice", "LazyTensor", "LazyTensors"]


@dataclass(frozen=True)
class LazyTensor:
    """Where a tensor is, and how to make it.

    Attributes:
        file: the file of the locked model that holds it.
        offset, size: where its bytes are in the file.
        shape: its shape.
        dtype: the type of its elements, as the framework has it.
        make: called with memory that holds its bytes or whole rows of them, and their shape; returns a tensor.
        is_contiguous: whether its elements lie in the order of its dimensions, so that rows can be read alone.
    """

    file: ModelFile
    offset: int
    size: int
    shape: tuple[int, ...]
    dtype: Any
    make: Callable[[memoryview, tuple[int, ...]], Any]
    is_contiguous: bool = True


class LazyTensors(Mapping[str, Any]):
    """The tensors of a locked model by name; what `lazy=True` returns.

    Each access decrypts and authenticates the segments that hold the tensor, and returns a new tensor: it costs what is
    touched. Segments that nobody asks for are never read, so damage there is not noticed. The locked file stays open,
    and its key in memory, until `close` or the end of a `with` block; tensors that were returned stay good after that.
    Safe to use from several threads.

    Args:
        model: the open locked model, which is closed with this object.
        names: the tensors' names.
        find: returns the place of one of them.
    """

    def __init__(self, model: LockedModel, names: Collection[str], find: Callable[[str], LazyTensor]) -> None:
        self._model = model
        self._names = dict.fromkeys(names)
        self._find = find
        self._lock = threading.Lock()
        self._is_open = True
        model.detach()

    def __getitem__(self, name: str) -> Any:
        """Decrypts a tensor.

        Raises:
            KeyError: the model has no such tensor.
            ModelDamagedError: the segments that hold it do not verify.
            UsageError: the model was closed.
        """
        place = self._place(name)
        return self.read(place, 0, place.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def get_tensor(self, name: str) -> Any:
        """The same as `tensors[name]`, under the name that `safetensors.safe_open` gives it."""
        return self[name]

    def get_slice(self, name: str) -> "LazySlice":
        """Returns what decrypts parts of a tensor, as in `safetensors.safe_open`."""
        return LazySlice(self, self._place(name))

    def close(self) -> None:
        """Closes the locked file and forgets the key."""
        with self._lock:
            self._is_open = False
            self._model.close()

    def __enter__(self) -> "LazyTensors":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._model.close()

    def _place(self, name: str) -> LazyTensor:
        if name not in self._names:
            raise KeyError(name)
        with self._lock:
            self._check_open()
            return self._find(name)

    def read(self, place: LazyTensor, start: int, shape: tuple[int, ...]) -> Any:
        """Decrypts a tensor, or those of its rows that make a tensor of this shape and begin at byte `start`."""
        memory = PlaintextMemory(place.size * math.prod(shape) // max(1, math.prod(place.shape)))
        with self._lock:
            self._check_open()
            place.file.read_at(place.offset + start, memory.view)
        try:
            return place.make(memory.view, shape)
        except BaseException:
            wipe(memory.view)
            raise

    def _check_open(self) -> None:
        if not self._is_open:
            raise UsageError("the locked model was closed", "read tensors before the end of the with block")


class LazySlice:
    """One tensor, of which parts can be had; rows of the first dimension are decrypted by themselves."""

    def __init__(self, tensors: LazyTensors, place: LazyTensor) -> None:
        self._tensors = tensors
        self._place = place

    def get_shape(self) -> list[int]:
        """Returns the tensor's shape."""
        return list(self._place.shape)

    def get_dtype(self) -> Any:
        """Returns the type of the tensor's elements, as the framework has it."""
        return self._place.dtype

    def __getitem__(self, index: Any) -> Any:
        """Decrypts a part of the tensor, indexed as the tensor itself."""
        place = self._place
        first, *others = index if isinstance(index, tuple) and index else (index,)
        if isinstance(first, slice) and place.is_contiguous and place.shape:
            start, stop, step = first.indices(place.shape[0])
            if step == 1 and start < stop:
                row_bytes = place.size // place.shape[0]
                rows = self._tensors.read(place, start * row_bytes, (stop - start, *place.shape[1:]))
                within = (slice(None), *others)
                return rows[within]
        return self._tensors.read(place, 0, place.shape)[index]
