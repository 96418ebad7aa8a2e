"""How much memory a process takes, seen from outside, with the memory files that only its descriptors hold."""

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType

__all__ = ["PeakWatch", "footprint"]

INTERVAL_SECONDS = 0.002


def footprint(pid: int) -> int:
    """Returns the bytes of a process's own memory, the files that it has mapped, and all of its memory files.

    A memory file's pages count as resident only where a process has mapped them: what was written to one and is read
    through its descriptor would be missed. So memory files are counted by themselves, each once.
    """
    resident = _status(pid)
    return resident["RssAnon"] + resident["RssFile"] + max(resident["RssShmem"], _memory_files(pid))


class PeakWatch:
    """Finds the peak of a process's footprint, for as long as its context lasts.

    The kernel keeps the highest value of what is mapped, and forgets it when the context begins. Memory files that
    are not mapped are looked at every two milliseconds, by this process: a framework that holds Python's global lock
    while it loads could not be seen from a thread of its own.

    Attributes:
        before, peak, after: bytes; the last two once the context has ended.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "PeakWatch":
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")
        self.before = self.peak = footprint(self._pid)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is None:
            self.after = footprint(self._pid)
            self.peak = max(self.peak, self.after, _status(self._pid)["VmHWM"])

    def _look(self) -> None:
        # A process that died has no memory any more; whoever waits for it will say so.
        with contextlib.suppress(OSError, KeyError):
            while not self._ended.wait(INTERVAL_SECONDS):
                self.peak = max(self.peak, footprint(self._pid))


def _status(pid: int) -> dict[str, int]:
    """Returns the sizes of a process's status, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}


def _memory_files(pid: int) -> int:
    """Returns the bytes of the memory files that a process has open or mapped."""
    sizes: dict[int, int] = {}
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "/memfd:" in line:
            places, _, offset, _, inode, _ = line.split(maxsplit=5)
            start, end = (int(place, 16) for place in places.split("-"))
            sizes[int(inode)] = max(sizes.get(int(inode), 0), int(offset, 16) + end - start)
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(link).startswith("/memfd:"):
                status = os.stat(link)
                sizes[status.st_ino] = status.st_blocks * 512
        except FileNotFoundError:
            pass  # Closed meanwhile.
    return sum(sizes.values())
