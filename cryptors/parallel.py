"""Work on many segments with several threads: AES-GCM and file reads release the GIL, so threads scale."""

import threading
from collections.abc import Callable, Sequence

from cryptors.processors import usable_processors

__all__ = ["Progress", "default_threads", "for_each_batch"]

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all, from the thread that started the work."""

BATCH = 4
"""Segments per task, and how many are not worth a second thread, whose start takes as long as half a segment."""

MAX_DEFAULT_THREADS = 16


def default_threads() -> int:
    """Returns the number of processors that this process may use, at most 16."""
    return min(MAX_DEFAULT_THREADS, usable_processors())


def for_each_batch(
    numbers: Sequence[int],
    task: Callable[[Sequence[int]], None],
    threads: int,
    done: Callable[[int], None],
    batch: int = BATCH,
) -> None:
    """Calls `task` for consecutive parts of `numbers`, in this thread and in others where that is worth it.

    Where the system starts no more threads, those that there are do the work.

    Args:
        numbers: the segments.
        task: must be safe to call from several threads.
        threads: at most so many, this one included.
        done: called in this thread with how many numbers have just been finished.
        batch: at most so many for one call of `task`.

    Raises:
        Exception: the first that a task raised; tasks that have not begun are dropped, and running ones are awaited.
    """
    work = _Work(numbers, task, threads, batch)
    try:
        work.start_helper()
        while work.do_next():
            done(work.take_finished())
    finally:
        # Also after an interrupt: the threads must have ended before the memory they write to is wiped.
        work.end_helpers()
    if work.error is not None:
        raise work.error
    if finished := work.take_finished():
        done(finished)


class _Work:
    """The batches of one call, and the threads that help with them.

    Neither concurrent.futures nor Thread.join alone: an interrupt from the keyboard between two of their steps leaves
    locks taken for which others then wait for ever, or counts a thread that still runs as one that has ended.

    Attributes:
        error: the first that a task raised in a helper.
    """

    def __init__(self, numbers: Sequence[int], task: Callable[[Sequence[int]], None], threads: int, batch: int) -> None:
        self.error: BaseException | None = None
        self._numbers = numbers
        self._task = task
        self._batch = max(2, min(batch, -(-len(numbers) // max(1, threads))))
        self._begun = self._finished = 0
        self._stopped = False
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._unstarted = threads - 1 if len(numbers) > BATCH else 0
        self._helpers = 0
        self._helped = threading.Lock()  # Taken from when the first helper begins until the last one ends.

    def do_next(self) -> bool:
        """Does one batch; returns False if there is none left to do."""
        with self._lock:
            if self._stopped or self._begun == len(self._numbers):
                return False
            batch = self._numbers[self._begun : self._begun + self._batch]
            self._begun += len(batch)
        self._task(batch)
        with self._lock:
            self._finished += len(batch)
        return True

    def take_finished(self) -> int:
        """Returns how many numbers have been finished since the last call."""
        with self._lock:
            finished, self._finished = self._finished, 0
        return finished

    def start_helper(self) -> None:
        """Starts a thread if that is worth it; each starts the next, so that all work while the others start."""
        with self._lock:
            left = len(self._numbers) - self._begun
            if self._stopped or self._unstarted <= 0 or left <= self._batch:
                return
            self._unstarted -= 1
        try:
            thread = threading.Thread(target=self._help, name="weightlock")
            self._threads.append(thread)
            thread.start()
        except (RuntimeError, MemoryError):
            pass  # RuntimeError: "can't start new thread".

    def end_helpers(self) -> None:
        """Returns when no helper works any more, nor will; then raises what interrupted it, if anything did."""
        interrupt: BaseException | None = None
        while True:
            try:
                with self._lock:
                    self._stopped = True
                while self._helpers:
                    with self._helped:
                        pass
                break
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _help(self) -> None:
        with self._lock:
            if self._stopped:
                return
            self._helpers += 1
            if self._helpers == 1:
                self._helped.acquire()
        try:
            self.start_helper()
            while self.do_next():
                pass
        except BaseException as error:
            with self._lock:
                self.error = self.error or error
                self._stopped = True
        finally:
            with self._lock:
                self._helpers -= 1
                if not self._helpers:
                    self._helped.release()
