"""Copies from the host's memory into a device's: each at once, or on a stream of their own from pinned memory."""

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["CudaCopies", "DirectCopies", "start_copies"]


def start_copies(torch: Any, device: Any, memory: Any, cleanup: contextlib.ExitStack) -> "DirectCopies":
    """Returns what copies from memory of the host into a device.

    Args:
        torch: the module.
        device: a `torch.device`.
        memory: a tensor over the memory from which everything is copied.
        cleanup: is given what is to be done before this memory goes.
    """
    if device.type == "cuda":
        copies = CudaCopies(torch, device, memory)
        cleanup.callback(copies.close)
        if copies.pin():
            return copies
    return DirectCopies()


class DirectCopies:
    """Copies to any device that have arrived when the call returns."""

    def copy(self, target: Any, source: Any) -> None:
        """Copies a tensor of the host into one of the device, of the same length."""
        target.copy_(source)

    def ordered(self) -> contextlib.AbstractContextManager[None]:
        """Puts the copies made inside between what is enqueued on the device before and what is enqueued afterwards."""
        return contextlib.nullcontext()

    def mark(self) -> Any:
        """Returns what `wait` waits for: all copies so far."""
        return None

    def wait(self, mark: Any) -> None:
        """Returns when the copies have arrived; called from any thread."""


class CudaCopies(DirectCopies):
    """Copies from pinned memory on a stream of their own, during which the caller's thread goes on."""

    def __init__(self, torch: Any, device: Any, memory: Any) -> None:
        self._cuda = torch.cuda
        self._ones = torch.ones
        self._device = device
        self._memory = memory
        self._stream = torch.cuda.Stream(device)
        self._pinned = False

    def pin(self) -> bool:
        """Pins the memory, without which nothing is copied in the background; tells whether the system allows it."""
        self._pinned = True  # An interrupt comes out of the call when the memory is pinned already.
        self._pinned = self._succeeds("cudaHostRegister", self._memory.data_ptr(), self._memory.numel(), 0)
        return self._pinned

    def copy(self, target: Any, source: Any) -> None:
        target.copy_(source, non_blocking=True)

    @contextlib.contextmanager
    def ordered(self) -> Iterator[None]:
        # The target can be memory that PyTorch had given to something else, whose kernels still run.
        current = self._cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        try:
            with self._cuda.stream(self._stream):
                yield
        finally:
            current.wait_stream(self._stream)

    def mark(self) -> Any:
        # A thread that waits for it sleeps, and leaves its processor to those that decrypt.
        return self._stream.record_event(self._cuda.Event(blocking=True))

    def wait(self, mark: Any) -> None:
        # A new thread is on the first GPU, where waiting would begin a context that takes memory.
        with self._cuda.device(self._device):
            mark.synchronize()

    def close(self) -> None:
        """Waits for the copies and gives the memory back to the system's paging, whether they succeeded or not."""
        try:
            self._stream.synchronize()
        finally:
            if self._pinned:
                self._succeeds("cudaHostUnregister", self._memory.data_ptr())
                self._pinned = False

    def _succeeds(self, function: str, *arguments: int) -> bool:
        with self._cuda.device(self._device):
            if int(getattr(self._cuda.cudart(), function)(*arguments)) == 0:
                return True
            # CUDA keeps the error for the next kernel of this thread, which would be one of the caller's that has
            # nothing to do with it. PyTorch has no call that drops it, so this kernel takes it.
            with contextlib.suppress(RuntimeError):
                self._ones(1, device=self._device)
            return False
