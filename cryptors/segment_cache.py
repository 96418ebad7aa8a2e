"""The last few segments of which a part was read, for small reads that follow each other."""

import threading
from collections import OrderedDict

from cryptors.memory import PlaintextMemory
from cryptors.stream import SEGMENT_BYTES

__all__ = ["CACHED_SEGMENTS", "SegmentCache"]

CACHED_SEGMENTS = 4
"""Enough for the directory of a zip file and the place that is read; not counting segments that are being decrypted."""


class SegmentCache:
    """Plaintext of segments by their numbers; several threads may use it at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._memories: list[PlaintextMemory] = []
        self._free: list[memoryview] = []
        self._kept: OrderedDict[int, memoryview] = OrderedDict()

    def copy(self, number: int, within: int, out: memoryview) -> bool:
        """Copies a part of a segment, from place `within` on; returns False if the segment is not here."""
        with self._lock:
            place = self._kept.get(number)
            if place is None:
                return False
            self._kept.move_to_end(number)
            out[:] = place[within : within + len(out)]
            return True

    def take(self) -> memoryview:
        """Returns memory to decrypt a segment into, to be given to `keep` or `give_back`."""
        with self._lock:
            if not self._free and len(self._kept) == CACHED_SEGMENTS:
                self._free.append(self._kept.popitem(last=False)[1])
            if not self._free:
                memory = PlaintextMemory(2 * SEGMENT_BYTES)  # One huge page.
                self._memories.append(memory)
                self._free += [memory.view[:SEGMENT_BYTES], memory.view[SEGMENT_BYTES:]]
            return self._free.pop()

    def keep(self, number: int, place: memoryview) -> None:
        """Keeps a segment that has been decrypted into memory from `take`."""
        with self._lock:
            if number in self._kept:  # Another thread came first.
                self._free.append(place)
                return
            self._kept[number] = place
            if len(self._kept) > CACHED_SEGMENTS:
                self._free.append(self._kept.popitem(last=False)[1])

    def give_back(self, place: memoryview) -> None:
        """Takes memory back that holds nothing to keep."""
        with self._lock:
            self._free.append(place)

    def close(self) -> None:
        """Wipes everything."""
        with self._lock:
            self._kept.clear()
            self._free.clear()
            while self._memories:
                self._memories.pop().close()
