"""Work on many segments with several threads: AES-GCM and file reads release the GIL, so threads scale."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

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


def _on_threads(
    batches: Iterable[range], task: Callable[[range], None], threads: int, done: Callable[[int], None]
) -> None:
    stop = threading.Event()

    def run(batch: range) -> int:
        if stop.is_set():
            return 0
        task(batch)
        return len(batch)

    with ThreadPoolExecutor(threads, thread_name_prefix="weightlock") as pool:
        try:
            pending = {pool.submit(run, batch) for batch in batches}
            while pending:
                finished, pending = wait(pending, timeout=0.1, return_when=FIRST_EXCEPTION)
                done(sum(future.result() for future in finished))
        except BaseException:
            # Also for KeyboardInterrupt: the threads must have ended before the memory they write to is wiped.
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
