"""A process that runs one job again and again, each time that a line of standard input asks for it.

A line that is a JSON object names the job and its arguments; a number runs it, with so many threads. Each is answered
by one line of JSON. What frameworks print goes nowhere: standard output belongs to the answers.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from licensing.errors import WeightlockError
from tools.bench.jobs import JOBS, Arguments, Job
from tools.bench.peers import PEER_JOBS
from tools.bench.start import START_JOBS

__all__ = ["FAILED", "main"]

FAILED = "bench_failed"
"""The reason of errors that a framework or a peer raised."""


def main() -> None:
    """Answers until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)

    job: Job | None = None

    def follow(line: str) -> dict[str, Any]:
        nonlocal job
        if line.startswith("{"):
            job = prepared_job(json.loads(line))
            return {}
        assert job is not None
        return {"seconds": job(int(line))}

    for line in sys.stdin:
        answers.write(json.dumps(_outcome(follow, line)) + "\n")
        answers.flush()


def prepared_job(arguments: Arguments) -> Job:
    """Returns the job that these arguments name, with everything done that is no part of the time."""
    return {**JOBS, **PEER_JOBS, **START_JOBS}[arguments["job"]](arguments)


def _outcome(follow: Callable[[str], dict[str, Any]], line: str) -> dict[str, Any]:
    """Does what a line says, and returns what came of it, or why it failed."""
    try:
        return follow(line)
    except MemoryError:
        return {"reason": "out_of_memory", "message": "there is not enough memory"}
    except WeightlockError as error:
        return {"reason": error.reason, "message": error.message, "hints": list(error.hints)}
    except Exception as error:  # Frameworks and peers raise whatever they like.
        said = " ".join(str(error).split())[:300].rstrip(" .")
        return {"reason": FAILED, "message": f"{type(error).__name__}: {said}"}
