"""A slot of the ring through which a file goes to a device, and what a worker does with it.

How slots change hands is said in `cryptors/device_ring.py`.
"""

import threading
from collections.abc import Iterable
from queue import SimpleQueue
from typing import Any

from cryptors.device_copies import DirectCopies
from cryptors.reader import ModelFile

__all__ = ["Slot", "call_back", "work"]


class Slot:
    """A part of the ring.

    Attributes:
        memory, tensor: the same bytes, for decrypting and for copying.
        segments: what is to be decrypted into it; none when it was called back.
        start, end: what it holds of the file; a first segment can begin before the file.
        lock: held by the worker that decrypts into it.
        pending: ordered, and its outcome not taken yet.
        outcomes: where the worker puts why it failed, or None.
        outcome: the last one taken.
        copied: the mark of the last copy out of it.
    """

    def __init__(self, memory: memoryview, tensor: Any) -> None:
        self.memory = memory
        self.tensor = tensor
        self.segments = range(0)
        self.start = self.end = 0
        self.lock = threading.Lock()
        self.pending = False
        self.outcomes: SimpleQueue[BaseException | None] = SimpleQueue()
        self.outcome: BaseException | None = None
        self.copied: Any = None


def work(file: ModelFile, copies: DirectCopies, orders: "SimpleQueue[Slot | None]") -> None:
    """What a worker does, until it is handed None."""
    while (slot := orders.get()) is not None:
        slot.outcomes.put(_decrypt(file, copies, slot))


def _decrypt(file: ModelFile, copies: DirectCopies, slot: Slot) -> BaseException | None:
    try:
        with slot.lock:
            segments = slot.segments
            if segments:
                if slot.copied is not None:
                    copies.wait(slot.copied)
                file.read_segments(segments, slot.memory)
    except BaseException as error:
        return error
    return None


def call_back(slots: Iterable[Slot]) -> None:
    """Leaves nothing to do in those that no worker has begun with."""
    for slot in slots:
        slot.segments = range(0)
