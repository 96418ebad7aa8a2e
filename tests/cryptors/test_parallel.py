"""Work on several threads: all of it is done once, and when it fails no thread goes on behind the caller's back."""

import os
import subprocess
import sys
import threading
import time

import pytest

from cryptors.parallel import BATCH, default_threads, for_each_batch


def ignore(count: int) -> None:
    """Does not care about progress."""


def working_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("weightlock")]


@pytest.mark.parametrize("threads", [0, 1, 2, 4, 64])
@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1, 10 * BATCH + 3])
def test_everything_is_done_once(threads: int, count: int) -> None:
    done: list[int] = []
    reported: list[int] = []
    for_each_batch(range(5, 5 + count), done.extend, threads, reported.append)
    assert sorted(done) == list(range(5, 5 + count))
    assert sum(reported) == count
    assert working_threads() == []


def test_several_threads_work_at_the_same_time() -> None:
    """A barrier that only several threads together can pass."""
    barrier = threading.Barrier(4, timeout=30)
    passed: list[int] = []
    for_each_batch(range(4 * BATCH), lambda batch: passed.append(barrier.wait()), 4, ignore)
    assert sorted(passed) == [0, 1, 2, 3]


def test_no_more_threads_than_asked_for() -> None:
    names: set[str] = set()
    for_each_batch(range(50 * BATCH), lambda batch: names.add(threading.current_thread().name), 3, ignore)
    assert 1 <= len(names) <= 3


@pytest.mark.parametrize(("threads", "count"), [(1, 10 * BATCH), (4, BATCH)])
def test_small_work_stays_in_the_callers_thread(threads: int, count: int) -> None:
    found = set()
    for_each_batch(range(count), lambda batch: found.add(threading.current_thread()), threads, ignore)
    assert found == {threading.current_thread()}


def test_progress_is_reported_in_the_callers_thread() -> None:
    """What draws a progress bar need not be safe to call from several threads."""
    found = set()
    for_each_batch(range(20 * BATCH), lambda batch: None, 4, lambda count: found.add(threading.current_thread()))
    assert found == {threading.current_thread()}


@pytest.mark.parametrize("error", [ValueError, MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("threads", [1, 4])
def test_error_of_a_task_comes_out_when_all_threads_have_ended(error: type[BaseException], threads: int) -> None:
    """The memory that they write to is wiped next, so that nobody may write to it any more."""
    begun: list[int] = []
    ended: list[int] = []

    def task(batch: range) -> None:
        begun.append(batch.start)
        if batch.start == 3 * BATCH:
            raise error("in a task")
        time.sleep(0.005)
        ended.append(batch.start)

    with pytest.raises(error, match="in a task"):
        for_each_batch(range(400 * BATCH), task, threads, ignore)
    assert working_threads() == []
    assert len(begun) == len(ended) + 1
    assert len(begun) < 400, "tasks that had not begun are dropped"


def test_error_of_the_callback_ends_the_threads_too() -> None:
    def cancel(count: int) -> None:
        raise InterruptedError("cancelled")

    with pytest.raises(InterruptedError):
        for_each_batch(range(400 * BATCH), lambda batch: time.sleep(0.005), 4, cancel)
    assert working_threads() == []


INTERRUPTED = """
import os, signal, threading, time
from cryptors.parallel import BATCH, for_each_batch

signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background processes ignore it.
begun, ended = [], []

def task(batch):
    begun.append(batch.start)
    if batch.start == 5 * BATCH:
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.005)
    ended.append(batch.start)

try:
    for_each_batch(range(2000 * BATCH), task, 2, lambda count: None)
except KeyboardInterrupt:
    print(threading.active_count(), len(begun) == len(ended) < 2000)
"""


def test_interrupt_from_the_keyboard_ends_the_threads() -> None:
    """The signal arrives while the main thread waits; in a process of its own, where it hits nobody else's code."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1", "True"]


def test_default_is_what_this_process_may_use() -> None:
    usable = os.sched_getaffinity(0)
    assert default_threads() == min(16, len(usable))
    os.sched_setaffinity(0, {min(usable)})
    try:
        assert default_threads() == 1
    finally:
        os.sched_setaffinity(0, usable)
