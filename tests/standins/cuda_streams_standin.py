"""A stand-in for the streams of `torch.cuda`. It is no CUDA: its streams are threads, its device memory is the host's.

What is enqueued happens late, after a delay of its own, so that memory which is used again too early is seen as wrong
data, as on a GPU that is behind.
"""

import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

__all__ = ["CudaStreamsStandIn", "DeviceTensor"]

NAMES = ("Event", "Stream", "cudart", "current_stream", "device", "stream")


class CudaStreamsStandIn:
    """What stands in `torch.cuda` for its functions of the same names.

    Args:
        delay: called for the seconds that each copy waits.

    Attributes:
        pinning_error: what `cudaHostRegister` returns.
        pinned: the memory that is registered: lengths by address.
        errors: the threads in which CUDA keeps an error for the next call.
        calls: how often memory was pinned or unpinned.
    """

    def __init__(self, delay: Callable[[], float]) -> None:
        self.delay = delay
        self.pinning_error = 0
        self.pinned: dict[int, int] = {}
        self.errors: set[int] = set()
        self.calls = 0
        self.streams: list[_Stream] = []
        self.default = self.Stream()
        self._current = threading.local()

    @classmethod
    @contextlib.contextmanager
    def installed(cls, delay: Callable[[], float]) -> Iterator["CudaStreamsStandIn"]:
        """Puts one into `torch.cuda`, and in the end nothing of it is left."""
        made = cls(delay)
        with pytest.MonkeyPatch.context() as patch:
            for name in NAMES:
                patch.setattr(torch.cuda, name, getattr(made, name))
            patch.setattr(torch, "ones", made.ones)
            try:
                yield made
            finally:
                for stream in made.streams:
                    stream.end()

    def Stream(self, device: Any = None) -> "_Stream":
        self.streams.append(_Stream(self))
        return self.streams[-1]

    def Event(self, blocking: bool = False) -> "_Event":
        assert blocking, "a thread that waits for another kind keeps a processor busy"
        return _Event()

    def current_stream(self, device: Any = None) -> "_Stream":
        current: _Stream = getattr(self._current, "stream", self.default)
        return current

    @contextlib.contextmanager
    def stream(self, stream: "_Stream") -> Iterator[None]:
        before = self.current_stream()
        self._current.stream = stream
        try:
            yield
        finally:
            self._current.stream = before

    def device(self, device: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def ones(self, *shape: int, device: Any) -> "DeviceTensor":
        self.check_thread()
        return DeviceTensor(self, torch.full(shape, 1, dtype=torch.uint8))

    def cudart(self) -> Any:
        return SimpleNamespace(cudaHostRegister=self._register, cudaHostUnregister=self._unregister)

    def _register(self, address: int, length: int, flags: int) -> int:
        if not self.pinning_error:
            self.pinned[address] = length
        return self._result(self.pinning_error)

    def _unregister(self, address: int) -> int:
        others = (stream for stream in self.streams if stream is not self.default)
        assert not any(stream.is_busy for stream in others), "memory was unpinned under a copy"
        return self._result(0 if self.pinned.pop(address, None) else 713)

    def _result(self, error: int) -> int:
        self.calls += 1
        if error:
            self.errors.add(threading.get_ident())
        return error

    def is_pinned(self, tensor: torch.Tensor) -> bool:
        """Tells whether a copy from there goes on in the background."""
        start, end = tensor.data_ptr(), tensor.data_ptr() + tensor.numel()
        return any(address <= start and end <= address + length for address, length in self.pinned.items())

    def check_thread(self) -> None:
        """Raises the error that another call left in this thread, once, as the launch of a kernel does."""
        if threading.get_ident() in self.errors:
            self.errors.remove(threading.get_ident())
            raise RuntimeError("CUDA error: of some earlier call")


class _Stream:
    """What is enqueued happens in this order, some time. An interrupt between any two lines here does no harm."""

    def __init__(self, cuda: CudaStreamsStandIn) -> None:
        self.cuda = cuda
        self.error: Exception | None = None
        self._tasks: deque[Callable[[], Any]] = deque()
        self._is_ended = False
        self._thread = threading.Thread(target=self._run, name="cuda-stream-standin", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        return bool(self._tasks)

    def enqueue(self, task: Callable[[], Any]) -> None:
        self._tasks.append(task)

    def record_event(self, event: "_Event") -> "_Event":
        event.recorded = [False]
        self.enqueue(functools.partial(event.recorded.__setitem__, 0, True))
        return event

    def wait_stream(self, other: "_Stream") -> None:
        event = other.record_event(_Event())
        self.enqueue(event.synchronize)

    def synchronize(self) -> None:
        while self.is_busy:
            time.sleep(0.0002)
        if self.error is not None:
            raise self.error

    def end(self) -> None:
        self._is_ended = True
        self._thread.join()

    def _run(self) -> None:
        while self._tasks or not self._is_ended:
            if not self._tasks:
                time.sleep(0.0002)
                continue
            try:
                self._tasks[0]()
            except Exception as error:
                self.error = error
            self._tasks.popleft()


class _Event:
    def __init__(self) -> None:
        self.recorded = [True]

    def synchronize(self) -> None:
        recorded = self.recorded
        while not recorded[0]:
            time.sleep(0.0002)


class DeviceTensor:
    """A tensor of bytes on the device.

    Args:
        cuda: the stand-in.
        data: what stands for the device's memory.
    """

    def __init__(self, cuda: CudaStreamsStandIn, data: torch.Tensor) -> None:
        self._cuda = cuda
        self._data = data

    def numel(self) -> int:
        return len(self._data)

    def __getitem__(self, part: slice) -> "DeviceTensor":
        return DeviceTensor(self._cuda, self._data[part])

    def copy_(self, source: torch.Tensor, non_blocking: bool = False) -> None:
        self._cuda.check_thread()
        self._enqueue(lambda: self._data.copy_(source))
        if not (non_blocking and self._cuda.is_pinned(source)):
            self._cuda.current_stream().synchronize()

    def fill_(self, value: int) -> None:
        self._enqueue(lambda: self._data.fill_(value))

    def clone(self) -> "DeviceTensor":
        """Returns a copy, made when all that is on the current stream has happened."""
        copy = torch.empty_like(self._data)
        self._enqueue(lambda: copy.copy_(self._data))
        return DeviceTensor(self._cuda, copy)

    def cpu(self) -> torch.Tensor:
        self._cuda.current_stream().synchronize()
        return self._data

    def _enqueue(self, task: Callable[[], Any]) -> None:
        seconds, stream = self._cuda.delay(), self._cuda.current_stream()
        stream.enqueue(lambda: time.sleep(seconds))
        stream.enqueue(task)
