"""From a locked model into a GPU's memory, through a ring of pinned buffers.

The file is decrypted ahead into the slots of the ring, on several threads, and copied to the device from there. The
host holds no more of the model than the ring, whatever its size, and decrypting and copying hide behind each other.

A slot is in the hands of one thread at a time. It goes round like this:

1. The caller's thread writes into an idle slot which segments come next in the file, and puts it into `_orders`.
2. A worker takes it from there, waits until the copies out of it have arrived, decrypts the segments into it, and
   puts the outcome into the slot's own `outcomes`.
3. The caller's thread takes the outcome when it needs this part of the file, enqueues copies out of the slot, and
   marks the last of them when it moves on to the next slot. Then this one is idle, and all begins again.

The slots between 1 and 3 are the window: parts of the file one after the other, without gaps. Its first slot is the one
that is copied from. A place outside the window moves it there.
"""

import contextlib
from _thread import start_new_thread
from collections import deque
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from cryptors.device_copies import start_copies
from cryptors.errors import MemoryUnavailableError, ModelMalformedError
from cryptors.frameworks import import_framework
from cryptors.memory import PlaintextMemory
from cryptors.reader import ModelFile
from cryptors.ring_slot import Slot, call_back, work
from cryptors.stream import SEGMENT_BYTES

__all__ = ["DeviceRing"]

SLOT_SEGMENTS = 8
"""Enough to hide what handing a slot over costs, few enough that the first copy begins soon."""

SPARE_SLOTS = 3
"""Beside those being decrypted: one that is copied from, one whose copies are under way, one that is ready."""


class DeviceRing:
    """Copies parts of one file of a locked model into tensors, best in the order in which they are in the file.

    Args:
        file: the file.
        device: a `torch.device` or its name: where the tensors are.
        slots: how many parts of the file the ring holds; by default, a few more than threads decrypt.
        slot_segments: the size of each, in segments of 1 MiB.

    Raises:
        RuntimeError: PyTorch cannot use the device.
    """

    def __init__(
        self, file: ModelFile, device: Any, *, slots: int | None = None, slot_segments: int = SLOT_SEGMENTS
    ) -> None:
        self._file = file
        self._threads = file.threads
        self._segments = file.segments_of(0, file.size)
        self._next = self._segments.start
        self._slot_segments = min(slot_segments, max(1, len(self._segments)))
        count = max(1, min(slots or self._threads + SPARE_SLOTS, -(-len(self._segments) // self._slot_segments)))
        size = self._slot_segments * SEGMENT_BYTES
        self._slots: list[Slot] = []
        self._idle: list[Slot] = []
        self._window: deque[Slot] = deque()
        self._orders: SimpleQueue[Slot | None] = SimpleQueue()
        self._workers = 0
        self._closed = False
        self._cleanup = contextlib.ExitStack()
        try:
            torch = import_framework("torch", "torch")
            memory = self._cleanup.enter_context(PlaintextMemory(count * size))
            # A page that this process and a forked one share moves when it is written to, and a GPU would go on
            # copying from the old place.
            memory.keep_from_children()
            tensor = torch.frombuffer(memory.view, dtype=torch.uint8)
            self._copies = start_copies(torch, torch.device(device), tensor, self._cleanup)
            places = [slice(start, start + size) for start in range(0, count * size, size)]
            self._slots = [Slot(memory.view[place], tensor[place]) for place in places]
            self._idle = list(self._slots)
        except BaseException:
            self._cleanup.close()
            raise

    def fill(self, target: Any, offset: int) -> None:
        """Copies a part of the file into a tensor.

        When it returns, the copies are enqueued: whatever the caller then enqueues on the device's current stream finds
        the data, which need not have arrived yet. If it fails, the ring is closed, and what has been copied so far
        stays on the device, where it is the caller's to drop.

        Args:
            target: a contiguous tensor of bytes (`uint8`, one dimension) on the device, as long as the part.
            offset: where in the file the part begins.

        Raises:
            ModelDamagedError: a segment does not verify.
            ModelMalformedError: the file ends before.
            MemoryUnavailableError: the system starts no threads.
            ValueError: the ring is closed.
            Exception: whatever PyTorch raises when it copies.
        """
        if self._closed:
            raise ValueError("the ring is closed")
        end = offset + target.numel()
        if not 0 <= offset <= end <= self._file.size:
            raise ModelMalformedError(f"the file {self._file.path!r} of the locked model is shorter than its tensors")
        try:
            with self._copies.ordered():
                position = offset
                while position < end:
                    slot = self._slot_at(position)
                    stop = min(end, slot.end)
                    source = slot.tensor[position - slot.start : stop - slot.start]
                    self._copies.copy(target[position - offset : stop - offset], source)
                    position = stop
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Waits for the copies, ends the threads, and wipes the ring.

        Raises:
            RuntimeError: a copy failed on the device; all the same, nothing is left here.
        """
        self._closed = True
        call_back(self._slots)
        for _ in range(self._workers):
            self._orders.put(None)
        for slot in self._slots:
            with slot.lock:
                pass  # No worker is at it any more, nor will be, since it was called back.
        for slots in (self._slots, self._idle, self._window):
            slots.clear()
        self._cleanup.close()

    def __enter__(self) -> "DeviceRing":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # For the case that an interrupt came while it was made, or just when `with` was to close it.
        with contextlib.suppress(AttributeError):
            self.close()

    def _slot_at(self, position: int) -> Slot:
        """Returns the slot with this place in the file, when it is decrypted."""
        window = self._window
        if not window or not window[0].start <= position < window[-1].end:
            call_back(window)
            while window:
                self._release()
            self._next = self._file.segments_of(position, position + 1).start
        while window and window[0].end <= position:  # Also over a gap, such as the header of the next tensor.
            self._release()
        self._order()
        outcome = self._outcome(window[0])
        if outcome is not None:
            raise outcome
        return window[0]

    def _order(self) -> None:
        """Has the next segments of the file decrypted, as many as there are idle slots for."""
        if not self._workers:
            self._start_workers()
        while self._idle and self._next < self._segments.stop:
            slot = self._idle.pop()
            slot.segments = range(self._next, min(self._next + self._slot_segments, self._segments.stop))
            slot.start = self._file.segment_start(slot.segments.start)
            slot.end = min(self._file.segment_start(slot.segments.stop), self._file.size)
            slot.pending = True
            self._next = slot.segments.stop
            self._window.append(slot)
            self._orders.put(slot)

    def _release(self) -> None:
        """Makes the window's first slot idle; an error in a part that nobody asked for is no error."""
        slot = self._window.popleft()
        self._outcome(slot)
        slot.copied = self._copies.mark()
        self._idle.append(slot)

    def _outcome(self, slot: Slot) -> BaseException | None:
        """Waits until a slot is back in the caller's hands; returns why it could not be decrypted."""
        if slot.pending:
            slot.outcome = slot.outcomes.get()
            slot.pending = False
            self._file.report_progress()
        return slot.outcome

    def _start_workers(self) -> None:
        # Not threading.Thread: when an interrupt comes while it starts, a lock can stay taken for ever, or the
        # interrupt comes out as another error. Workers know nothing of the ring, so that it goes when nobody else does.
        for number in range(min(self._threads, len(self._slots))):
            self._workers += 1
            try:
                start_new_thread(work, (self._file, self._copies, self._orders))
            except RuntimeError as cause:
                if number == 0:
                    raise MemoryUnavailableError("the system starts no more threads") from cause
                break
