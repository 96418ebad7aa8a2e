"""Work on several threads: all of it is done once, and when it fails no thread goes on behind the caller's back."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import pytest

from cryptors import parallel
from cryptors.parallel import BATCH, default_threads, for_each_batch
from cryptors.processors import usable_processors


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

    def task(batch: Sequence[int]) -> None:
        begun.append(batch[0])
        if batch[0] == 3 * BATCH:
            raise error("in a task")
        time.sleep(0.005)
        ended.append(batch[0])

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
    # Only the task of the main thread can have been interrupted.
    print(threading.active_count(), len(begun) - len(ended) <= 1, len(begun) < 2000)
"""


def test_interrupt_from_the_keyboard_ends_the_threads() -> None:
    """The signal arrives while the main thread waits; in a process of its own, where it hits nobody else's code."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1", "True", "True"]


INTERRUPTED_TWICE = """
import os, signal, threading
from cryptors.parallel import BATCH, for_each_batch

signal.signal(signal.SIGINT, signal.default_int_handler)
main, written, interrupted = threading.current_thread(), [], threading.Event()

def task(batch):
    if threading.current_thread() is main:
        interrupted.wait(30)  # Until the other thread has begun.
        raise KeyboardInterrupt
    interrupted.set()
    for _ in range(5):
        threading.Event().wait(0.05)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(0.05)
    written.append(batch)

try:
    for_each_batch(range(2 * BATCH), task, 2, lambda count: None)
except KeyboardInterrupt:
    print(len(written))
"""


def test_impatient_interrupts_do_not_leave_a_thread_behind() -> None:
    """Each arrives while the main thread waits for the other one, which goes on writing to memory meanwhile."""
    command = [sys.executable, "-c", INTERRUPTED_TWICE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1"]


@pytest.mark.parametrize("startable", [0, 1, 2])
@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_threads_that_cannot_be_started_are_done_without(
    startable: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system says no, to this process or to this user: the work is done by those that there are."""
    start, started = threading.Thread.start, list[threading.Thread]()

    def start_some(thread: threading.Thread) -> None:
        if len(started) == startable:
            raise error("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    done: list[int] = []
    for_each_batch(range(20 * BATCH), done.extend, 8, ignore)
    assert sorted(done) == list(range(20 * BATCH))
    assert working_threads() == []


def test_default_is_what_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_threads() == min(16, len(os.sched_getaffinity(0)), usable_processors())
    monkeypatch.setattr(parallel, "usable_processors", lambda: 200)
    assert default_threads() == 16
