"""Work on many segments with several threads: AES-GCM and file reads release the GIL, so threads scale."""

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["Progress", "default_threads", "for_each_batch"]

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all, from the thread that started the work."""

BATCH = 8
"""Segments per task: enough to hide the cost of handing a task over, few enough to share the work evenly."""


def default_threads() -> int:
    """Returns the number of processors that this process may use, at most 16."""
    return min(16, len(os.sched_getaffinity(0)))


def for_each_batch(numbers: range, task: Callable[[range], None], threads: int, done: Callable[[int], None]) -> None:
    """Calls `task` for consecutive parts of `numbers`, on several threads where that is worth it.

    Args:
        numbers: the segments.
        task: must be safe to call from several threads.
        threads: at most so many.
        done: called in this thread with how many numbers have just been finished.

    Raises:
        Exception: the first that a task raised; tasks that have not begun are dropped, and running ones are awaited.
    """
    batches = [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]
    if threads <= 1 or len(batches) <= 1:
        for batch in batches:
            task(batch)
            done(len(batch))
        return
    _on_threads(batches, task, min(threads, len(batches)), done)


def _on_threads(batches: list[range], task: Callable[[range], None], threads: int, done: Callable[[int], None]) -> None:
    # Not concurrent.futures: its wait() takes a lock per task, and an interrupt between two of them leaves locks
    # taken for which its threads then wait for ever.
    queue, lock, stop = iter(batches), threading.Lock(), threading.Event()
    outcomes: SimpleQueue[int | BaseException] = SimpleQueue()

    def work() -> None:
        while not stop.is_set():
            with lock:
                batch = next(queue, None)
            if batch is None:
                return
            try:
                task(batch)
                outcomes.put(len(batch))
            except BaseException as error:
                outcomes.put(error)

    workers = [threading.Thread(target=work, name=f"weightlock-{number}") for number in range(threads)]
    try:
        for worker in workers:
            worker.start()
        for _ in batches:
            outcome = outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            done(outcome)
    finally:
        # Also after an interrupt: the threads must have ended before the memory they write to is wiped.
        stop.set()
        for worker in workers:
            if worker.ident is not None:
                worker.join()
