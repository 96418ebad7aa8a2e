"""The rounds of a run: every candidate once in each, so that whatever else the machine does hits all alike."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.bench import page_cache
from tools.bench.candidate import Candidate, Measurement
from tools.bench.host_memory import fetch_memory, gives_memory_back
from tools.bench.machine import available_memory, huge_page_stalls
from tools.bench.process import Worker, WorkerError

__all__ = ["LeaveOut", "Step", "measure_all", "step_count"]

CACHED_AT_MOST = 0.4
"""The part of the available memory that all files together may take up in the page cache."""

Step = Callable[[str], None]
"""Called with what is about to be measured."""

LeaveOut = Callable[[str, WorkerError], None]
"""Called with the label of a candidate that failed, and why."""


def step_count(candidates: list[Candidate], repeat: int) -> int:
    """Returns how many steps `measure_all` has."""
    return sum(repeat + each.warms_up + each.watched for each in candidates)


def measure_all(
    candidates: list[Candidate], repeat: int, folder: Path, step: Step, leave_out: LeaveOut
) -> list[Measurement]:
    """Measures candidates, each in a process that stays alive, and then their memory in fresh processes.

    Args:
        candidates: what to measure.
        repeat: how many rounds count.
        folder: where the processes run.
        step: see `Step`.
        leave_out: see `LeaveOut`.

    Raises:
        WorkerError: a candidate that is not optional failed.
    """
    found = [Measurement(candidate) for candidate in candidates]
    keep = _fit_into_memory(candidates)
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for number in range(repeat + 1):
            # Every second round runs backwards: nobody always comes after the same neighbour.
            for each in list(found if number % 2 == 0 else reversed(found)):
                candidate = each.candidate
                if number == 0 and not candidate.warms_up:
                    continue
                step(candidate.label)
                with _optional(each, found, leave_out):
                    if candidate.name not in workers:
                        worker = Worker(candidate.job, candidate.threads, folder)
                        workers[candidate.name] = stack.enter_context(worker)
                    _measure(workers[candidate.name], each, counts=number > 0)
                if not keep:
                    page_cache.drop(candidate.files)
    for each in list(found):
        if each.candidate.watched:
            step(f"{each.candidate.label}: memory")
            with _optional(each, found, leave_out):
                each.peak_bytes = _peak(each.candidate, folder)
    return found


def _fit_into_memory(candidates: list[Candidate]) -> bool:
    """Returns whether all files may stay in the page cache.

    Where they filled the memory, loading would wait for the kernel to make room, and for huge pages to be put together.
    """
    files = {file for each in candidates for file in each.files}
    return sum(file.stat().st_size for file in files) < available_memory() * CACHED_AT_MOST


def _measure(worker: Worker, measurement: Measurement, counts: bool) -> None:
    candidate = measurement.candidate
    if candidate.files:
        (page_cache.drop if candidate.cold else page_cache.warm)(candidate.files)
    if gives_memory_back():
        fetch_memory(int(candidate.copies * candidate.size))
    share = page_cache.resident_share(candidate.files)
    stalls = huge_page_stalls()
    seconds = worker.run(candidate.threads)
    if counts:
        measurement.samples.append(seconds)
        measurement.stalls += huge_page_stalls() - stalls
        measurement.cached += [share] if candidate.files else []


def _peak(candidate: Candidate, folder: Path) -> int:
    with Worker(candidate.primed_by or candidate.job, candidate.threads, folder) as worker:
        if candidate.primed_by:
            worker.run(candidate.threads)
            worker.prepare(candidate.job)
        page_cache.warm(candidate.files)
        return worker.peak(candidate.threads)


@contextlib.contextmanager
def _optional(each: Measurement, found: list[Measurement], leave_out: LeaveOut) -> Iterator[None]:
    try:
        yield
    except WorkerError as error:
        if not each.candidate.optional:
            raise
        found.remove(each)
        leave_out(each.candidate.label, error)
