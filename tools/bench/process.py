"""The parent's side of a worker: starting it, telling it what to do, and watching its memory."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from licensing.errors import WeightlockError
from tools.bench.footprint import PeakWatch
from tools.bench.worker import FAILED

__all__ = ["Worker", "WorkerError"]

ROOT = str(Path(__file__).parents[2])
PROGRAM = "import sys; sys.path.append(sys.argv[1]); from tools.bench.worker import main; main()"

QUIET = {"ORT_DISABLE_TELEMETRY": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}


class WorkerError(WeightlockError):
    """A worker could not do its job; the reason is the job's own."""


class Worker:
    """A process that runs one job; see `tools.bench.worker`.

    Args:
        job: the job's name and arguments. They go through a pipe: the content key among them is a secret.
        threads: for libraries that take it from the environment.
        folder: where it runs; nothing that lies about elsewhere is imported.

    Raises:
        WorkerError: the job cannot be prepared.
    """

    def __init__(self, job: Mapping[str, Any], threads: int, folder: Path) -> None:
        self._name = ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **QUIET, "RAYON_NUM_THREADS": str(threads)},
            cwd=folder,
            start_new_session=True,  # Ctrl-C is for the parent, which then ends its workers.
            text=True,
        )
        try:
            self.prepare(job)
        except BaseException:
            self.close()
            raise

    def prepare(self, job: Mapping[str, Any]) -> None:
        """Takes up a job, in place of the one before.

        Raises:
            WorkerError: it cannot be prepared.
        """
        self._name = job["job"]
        self._ask(json.dumps(job))

    def run(self, threads: int) -> dict[str, float]:
        """Runs the job once, and returns its seconds.

        Raises:
            WorkerError: it failed.
        """
        seconds: dict[str, float] = self._ask(str(threads))["seconds"]
        return seconds

    def peak(self, threads: int) -> int:
        """Runs the job once, and returns by how many bytes the process's memory grew at most."""
        with PeakWatch(self._process.pid) as watch:
            self.run(threads)
        return watch.peak - watch.before

    def close(self) -> None:
        """Ends the process, and what it started, at once."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass  # It ended before it had read everything.
        self._process.wait()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise WorkerError(
                f"the process that measures {self._name!r} ended unexpectedly",
                "perhaps there is not enough memory: try a smaller --size",
                reason="out_of_memory",
            )
        facts: dict[str, Any] = json.loads(answer)
        if "reason" in facts:
            message = facts["message"]
            if facts["reason"] == FAILED:
                message = f"measuring {self._name!r} failed: {message}"
            raise WorkerError(message, *facts.get("hints", ()), reason=facts["reason"])
        return facts
