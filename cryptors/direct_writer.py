"""Writing a large new file past the page cache: what is written is on the disk, and little is left to flush.

Through the page cache every page costs memory and a copy, threads that write to one file wait for each other, and when
the last write returns the disk has yet to take most of it, for which an interrupt has to wait as well.
"""

import errno
import os

__all__ = ["BLOCK_BYTES", "DirectWriter"]

BLOCK_BYTES = 64 * 1024
"""What direct writes are aligned to, in the file and in memory: the largest page or block of any system, so that no
page of the page cache and no block of the disk is written in both ways."""


class DirectWriter:
    """Writes to a file at any position; safe to use from several threads.

    Where the file system or the disk knows no direct writes, they go through the page cache.

    Args:
        descriptor: the file, open for writing; it stays open.
        direct: whether to go past the page cache.
    """

    def __init__(self, descriptor: int, direct: bool) -> None:
        self._descriptor = descriptor
        self._direct = _reopen(descriptor) if direct else -1
        self._refused = self._direct < 0

    def write(self, data: memoryview, position: int) -> None:
        """Writes bytes; directly, if their memory begins as far behind a block's beginning as their position does.

        Raises:
            OSError: the file system refused.
        """
        head = min(-position % BLOCK_BYTES, len(data))
        blocks = data[head : head + (len(data) - head) // BLOCK_BYTES * BLOCK_BYTES]
        direct = self._write_directly(blocks, position + head)
        # The blocks at the ends hold what others write as well, so they go through the page cache.
        self._write(data[:head], position)
        self._write(data[head + direct :], position + head + direct)

    def close(self) -> None:
        """Closes what was opened here."""
        if self._direct >= 0:
            os.close(self._direct)
            self._direct = -1

    def _write_directly(self, blocks: memoryview, position: int) -> int:
        """Writes whole blocks and returns how many bytes were taken; the page cache takes the others."""
        done = 0
        while done < len(blocks) and done % BLOCK_BYTES == 0 and not self._refused:
            try:
                done += os.pwrite(self._direct, blocks[done:], position + done)
            except OSError as cause:
                if cause.errno != errno.EINVAL:
                    raise
                self._refused = True  # Some say only now that they cannot, or want more than this.
        return done

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
