"""One run of the fuzzer on one target: counts inputs, keeps findings, and says how far it is."""

import json
import os
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.minimise import minimised
from tests.fuzz.target import HERE, Finding, Target, try_input

__all__ = ["FinishedError", "Session"]

REPORT_EVERY_SECONDS = 1.0
MAX_FINDINGS = 20

MAX_ADDRESS_SPACE_BYTES = 6 * 1024**3
"""Of the whole process: a parser that asks for more than this at once gets a MemoryError, which is a finding."""


class FinishedError(Exception):
    """As many inputs were tried, or as much time has passed, as was asked for."""


@dataclass
class Session:
    """A run.

    Attributes:
        target: what is fuzzed.
        max_inputs, max_seconds: when it ends, whichever comes first.
        report: the file to which it says how far it is; None for a test that asks the session itself.
        found: the directory in which inputs of findings are kept; None to keep none.
        inputs: how many were tried.
        findings: by what happened: the first input that made it happen, as small as it could be made.
    """

    target: Target
    max_inputs: int
    max_seconds: float
    report: Path | None = None
    found: Path | None = HERE / "found"
    inputs: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _reported: float = 0.0

    def limit_memory(self) -> None:
        """Bounds the memory of this process, for good."""
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE_BYTES, hard))

    def one(self, data: bytes) -> None:
        """Tries one input.

        Raises:
            FinishedError: it was the last one.
        """
        finding = try_input(self.target, data)
        self.inputs += 1
        if finding is not None and finding.what not in self.findings and len(self.findings) < MAX_FINDINGS:
            self._keep(finding)
        now = time.monotonic()
        finished = self.inputs >= self.max_inputs or now - self._began >= self.max_seconds
        if finished or now - self._reported >= REPORT_EVERY_SECONDS:
            self._reported = now
            self._write_report(finished)
        if finished:
            raise FinishedError

    def _keep(self, finding: Finding) -> None:
        small = minimised(self.target, finding)
        self.findings[finding.what] = small
        if self.found is not None:
            (self.found / self.target.name).mkdir(parents=True, exist_ok=True)
            (self.found / self.target.name / small.file_name).write_bytes(small.data)

    def _write_report(self, finished: bool) -> None:
        if self.report is None:
            return
        said = {
            "inputs": self.inputs,
            "seconds": round(time.monotonic() - self._began, 1),
            "findings": {what: finding.file_name for what, finding in self.findings.items()},
            "finished": finished,
        }
        temporary = self.report.with_suffix(".new")
        temporary.write_text(json.dumps(said))
        os.replace(temporary, self.report)
