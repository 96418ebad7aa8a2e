"""Writing a large new file past the page cache: what is written is on the disk, and little is left to flush.

Through the page cache every page costs memory and a copy, threads that write to one file wait for each other, and when
the last write returns the disk has yet to take most of it, for which an interrupt has to wait as well.
"""

import errno
import os
import threading
from dataclasses import dataclass, field

from cryptors.memory import new_mapping

__all__ = ["BLOCK_BYTES", "DirectWriter"]

BLOCK_BYTES = 64 * 1024
"""What direct writes are aligned to, in the file and in memory: the largest page or block of any system, so that no
page of the page cache and no block of the disk is written in both ways."""


@dataclass
class _Block:
    """A block of which a part has been written.

    Attributes:
        position: where it begins in the file.
        memory: for the whole block.
        parts: the beginning and the end, inside the block, of each part that is there.
    """

    position: int
    memory: memoryview = field(default_factory=lambda: memoryview(new_mapping(BLOCK_BYTES)))
    parts: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing; no part is written twice."""
        return sum(end - start for start, end in self.parts) == BLOCK_BYTES


class DirectWriter:
    """Writes each byte of a file once, in any order; safe to use from several threads.

    Blocks that hold the end of one write and the beginning of another are kept until they are whole. Where the file
    system or the disk knows no direct writes, all goes through the page cache.

    Args:
        descriptor: the file, open for writing; it stays open.
        direct: whether to go past the page cache.
    """

    def __init__(self, descriptor: int, direct: bool) -> None:
        self._descriptor = descriptor
        self._direct = _reopen(descriptor) if direct else -1
        self._refused = self._direct < 0
        self._lock = threading.Lock()
        self._blocks: dict[int, _Block] = {}

    def write(self, data: memoryview, position: int) -> None:
        """Writes bytes; directly, if their memory begins as far behind a block's beginning as their position does.

        Raises:
            OSError: the file system refused.
        """
        head = min(-position % BLOCK_BYTES, len(data))
        tail = head + (len(data) - head) // BLOCK_BYTES * BLOCK_BYTES
        self._write_blocks(data[head:tail], position + head)
        self._write_part(data[:head], position)
        self._write_part(data[tail:], position + tail)

    def finish(self) -> None:
        """Writes what is left: the ends of the file, which fill no block.

        Raises:
            OSError: the file system refused.
        """
        for block in self._blocks.values():
            for start, end in block.parts:
                self._write(block.memory[start:end], block.position + start)
        self._blocks.clear()

    def close(self) -> None:
        """Closes what was opened here."""
        if self._direct >= 0:
            os.close(self._direct)
            self._direct = -1

    def _write_blocks(self, blocks: memoryview, position: int) -> None:
        done = 0
        while done < len(blocks) and done % BLOCK_BYTES == 0 and not self._refused:
            try:
                done += os.pwrite(self._direct, blocks[done:], position + done)
            except OSError as cause:
                if cause.errno != errno.EINVAL:
                    raise
                self._refused = True  # Some say only now that they cannot, or want more than this.
        self._write(blocks[done:], position + done)

    def _write_part(self, part: memoryview, position: int) -> None:
        """Writes a part of a block, when the whole block is there."""
        if self._refused:
            self._write(part, position)
        elif part:
            start = position % BLOCK_BYTES
            with self._lock:
                block = self._blocks.get(position - start)
                if block is None:
                    block = self._blocks[position - start] = _Block(position - start)
                block.memory[start : start + len(part)] = part
                block.parts.append((start, start + len(part)))
                if not block.is_whole:
                    return
                del self._blocks[block.position]
            self._write_blocks(block.memory, block.position)

    def _write(self, data: memoryview, position: int) -> None:
        while data:
            count = os.pwrite(self._descriptor, data, position)
            data, position = data[count:], position + count


def _reopen(descriptor: int) -> int:
    """Returns another descriptor of the same file, for direct writes, or -1 where there are none."""
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return -1
