"""The rounds of a run: every candidate once in each, so that whatever else the machine does hits all alike."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.bench import page_cache
from tools.bench.candidate import Candidate, Measurement
from tools.bench.process import Worker, WorkerError

__all__ = ["LeaveOut", "Step", "measure_all", "step_count"]

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
                    share, seconds = _measure(workers[candidate.name], candidate)
                    if number:
                        each.samples.append(seconds)
                        each.cached += [] if share is None else [share]
    for each in list(found):
        if each.candidate.watched:
            step(f"{each.candidate.label}: memory")
            with _optional(each, found, leave_out):
                each.peak_bytes = _peak(each.candidate, folder)
    return found


def _measure(worker: Worker, candidate: Candidate) -> tuple[float | None, dict[str, float]]:
    share = None
    if candidate.files:
        (page_cache.drop if candidate.cold else page_cache.warm)(candidate.files)
        share = page_cache.resident_share(candidate.files)
    return share, worker.run(candidate.threads)


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
