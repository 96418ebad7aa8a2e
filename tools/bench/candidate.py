"""What stands side by side in a run, and what was measured of it."""

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["CALL", "TOUCHED", "Candidate", "Measurement", "Results"]

CALL, TOUCHED = "call", "touched"
"""The times that a job tells: of the call alone, and with reading every page of what it returned."""


@dataclass(frozen=True)
class Candidate:
    """One thing to measure.

    Attributes:
        name: what programs call it, such as "torch.locked".
        label: what people read.
        job: what the worker is told; candidates of the same job share a worker.
        size: how many bytes of the model it deals with; zero where that means nothing.
        threads: with how many threads it works, if it takes threads.
        files: what it reads, to be put into the page cache or dropped from there.
        cold: whether the page cache is dropped before each run.
        warms_up: whether the round that does not count is for it, too; once for each job is enough.
        copies: how many sizes of the model it takes in memory, about.
        watched: whether its memory is measured.
        primed_by: a job on a tiny model that is done before the memory is measured, so that what a framework takes
            once, for itself, is not counted.
        optional: whether the run goes on without it when it fails.
    """

    name: str
    label: str
    job: dict[str, Any] = field(repr=False)
    size: int
    threads: int
    files: tuple[Path, ...] = ()
    cold: bool = False
    warms_up: bool = True
    copies: float = 1.2
    watched: bool = False
    primed_by: dict[str, Any] | None = field(default=None, repr=False)
    optional: bool = False


@dataclass
class Measurement:
    """All that was measured of a candidate.

    Attributes:
        candidate: what was measured.
        samples: the seconds of each run.
        cached: for each run, which part of its files was in the page cache before it.
        stalls: how often a process had to wait for a huge page meanwhile, or got none; on the whole machine.
        peak_bytes: by how much the memory of its process grew at most.
    """

    candidate: Candidate
    samples: list[dict[str, float]] = field(default_factory=list)
    cached: list[float] = field(default_factory=list)
    stalls: int = 0
    peak_bytes: int | None = None

    def seconds(self, what: str = CALL) -> list[float]:
        """Returns one time of every run; none where the job does not tell it."""
        return [sample[what] for sample in self.samples if what in sample]

    def median(self, what: str = CALL) -> float:
        """Returns the median of one time."""
        return statistics.median(self.seconds(what))

    def rate(self, what: str = CALL) -> float:
        """Returns bytes per second, by the median."""
        return self.candidate.size / self.median(what)

    def to_json(self) -> dict[str, Any]:
        """Returns everything, for programs."""
        facts: dict[str, Any] = {
            "name": self.candidate.name,
            "label": self.candidate.label,
            "threads": self.candidate.threads,
            "page_cache": "dropped" if self.candidate.cold else "warm",
            "bytes": self.candidate.size,
            "seconds": self.seconds(),
            "median_seconds": self.median(),
            "huge_page_stalls": self.stalls,
        }
        if touched := self.seconds(TOUCHED):
            facts |= {"touched_seconds": touched, "median_touched_seconds": self.median(TOUCHED)}
        if self.cached:
            facts["page_cache_shares"] = [round(share, 4) for share in self.cached]
        if self.peak_bytes is not None:
            facts |= {"peak_bytes": self.peak_bytes, "peak_of_model": round(self.peak_bytes / self.candidate.size, 3)}
        return facts


@dataclass
class Results:
    """What one model gave.

    Attributes:
        size: of the model, in bytes.
        threads: the number of threads that the rows mean which do not say another.
        measurements: of all candidates, in the order in which they are shown.
        left_out: labels and reasons of what could not be measured.
    """

    size: int
    threads: int
    measurements: list[Measurement] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def find(self, name: str, threads: int | None = None, cold: bool = False) -> Measurement | None:
        """Returns the measurement of this name, or None."""
        wanted = (name, threads or self.threads, cold)
        for each in self.measurements:
            if (each.candidate.name, each.candidate.threads, each.candidate.cold) == wanted:
                return each
        return None

    def ratio(self, name: str, to: str, what: str = CALL, cold: bool = False) -> float | None:
        """Returns the median time of one candidate in medians of another; None where one was not measured."""
        one, other = self.find(name, cold=cold), self.find(to, cold=cold)
        if one is None or other is None or not one.seconds(what) or not other.seconds(what):
            return None
        return one.median(what) / other.median(what)
