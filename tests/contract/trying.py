"""Locks and loads models that may be bad in a process of its own, which may crash: see tried_program.py."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.command_line import ROOT
from tests.contract.case import Case

__all__ = ["Tried", "Trying", "trying"]

LIMIT_SECONDS = 120


@dataclass(frozen=True)
class Tried:
    """What became of a model.

    Attributes:
        stage: what failed: "encrypt", "load" or "use"; "done" where nothing did; "crash" where the process died.
        reason, message: of our own error.
        raw: the traceback of an error that is not ours, or how the process ended.
        arrays: digests of what the model gave.
        memory_files: how many memory files stayed open or mapped.
        left: what stayed in the directory for temporary files.
    """

    stage: str
    reason: str = ""
    message: str = ""
    raw: str = ""
    arrays: dict[str, str] = field(default_factory=dict)
    memory_files: int = 0
    left: list[str] = field(default_factory=list)


class Trying:
    """The process. It starts when it is first needed, and again when it has died.

    Args:
        folder: an empty one: its home, its place for temporary files, and where it runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._found: dict[str, Tried] = {}

    def __call__(self, case: Case, plaintext: Path, locked: Path) -> Tried:
        """Locks a model, loads it, and uses it."""
        if self._process is None:
            self._process = self._start()
        process = self._process
        assert process.stdin
        assert process.stdout
        limit = threading.Timer(LIMIT_SECONDS, process.kill)
        limit.start()
        process.stdin.write(json.dumps([case.name, str(plaintext), str(locked)]) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        limit.cancel()
        return Tried(**json.loads(answer)) if answer else Tried("crash", raw=f"the process ended: {self.close()}")

    def once(self, name: str, find: Callable[[], Tried]) -> Tried:
        """Returns what `find` found when this was first called with a name."""
        if name not in self._found:
            self._found[name] = find()
        return self._found[name]

    def close(self) -> int | None:
        """Ends the process, and returns its exit code if there was one."""
        if self._process is None:
            return None
        with self._process as process:  # Closes its standard input, at which it ends, and waits.
            self._process = None
        return process.returncode

    def _start(self) -> "subprocess.Popen[str]":
        folder = str(self._folder)
        return subprocess.Popen(
            [sys.executable, "-m", "tests.contract.tried_program"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": folder, "TMPDIR": folder},
        )


@pytest.fixture(scope="module")
def trying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trying]:
    """Returns the process, one for all tests of a module: frameworks take long to import."""
    process = Trying(tmp_path_factory.mktemp("trying"))
    yield process
    process.close()
