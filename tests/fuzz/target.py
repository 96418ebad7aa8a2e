"""What a fuzz target is, and what counts as a finding.

A target takes bytes to a parser. The parser accepts them, and what it read must then be written as the same bytes; or
it refuses them with one of the errors that it documents. Everything else is a finding, and so are an input that takes
long and one that takes much memory.
"""

import hashlib
import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from licensing.errors import WeightlockError

__all__ = ["MAX_MEMORY_BYTES", "MAX_SECONDS", "Finding", "Target", "WrittenOtherwise", "try_input"]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

MAX_SECONDS = 2.0
"""Of processor time for one input. Parsing takes some milliseconds at most; the rest is for a machine that is busy."""

MAX_MEMORY_BYTES = 128 * 1024**2
"""By how much one input may raise the peak of this process's memory."""

MAX_MESSAGE_CHARACTERS = 1000


class WrittenOtherwise(AssertionError):
    """What was parsed is not written as the bytes that it was parsed from."""


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        name: of the target and of its directories of seeds and of found cases.
        parse: takes an input to the parser, and writes again what it read; raises `WrittenOtherwise` if that differs.
        errors: what the parser's documentation says that it raises.
        json: whether inputs are JSON, which the mutations then take apart.
        max_bytes: how long an input the fuzzer may make.
    """

    name: str
    parse: Callable[[bytes], None]
    errors: tuple[type[Exception], ...]
    json: bool = True
    max_bytes: int = 16 * 1024

    def inputs(self, kind: str) -> list[Path]:
        """Returns the files of its seeds ("seeds") or of its found cases ("found")."""
        return sorted(path for path in (HERE / kind / self.name).glob("*") if path.is_file())


@dataclass(frozen=True)
class Finding:
    """An input that a parser did not handle as it should.

    Attributes:
        target: the target's name.
        what: what happened, in words, with the place in the sources: findings of the same words count as one.
        data: the input.
    """

    target: str
    what: str
    data: bytes

    @property
    def file_name(self) -> str:
        """Where the input is kept."""
        return hashlib.sha256(self.data).hexdigest()[:16]


def try_input(target: Target, data: bytes, max_seconds: float = MAX_SECONDS) -> Finding | None:
    """Takes one input to a parser, and returns what is wrong with how that went."""
    memory, began = _peak_memory(), time.process_time()
    problem = _problem(target, data)
    if problem is None and time.process_time() - began > max_seconds:
        problem = f"takes longer than {max_seconds:g} s"
    if problem is None and _peak_memory() - memory > MAX_MEMORY_BYTES:
        problem = f"takes more than {MAX_MEMORY_BYTES >> 20} MiB of memory"
    return None if problem is None else Finding(target.name, problem, data)


def _problem(target: Target, data: bytes) -> str | None:
    try:
        target.parse(data)
    except target.errors as error:
        if isinstance(error, (WrittenOtherwise, MemoryError, RecursionError)) and type(error) not in target.errors:
            # Where a target takes errors of any class for a refusal, these are none.
            return f"{type(error).__name__} at {_place(error)}"
        return _problem_of_message(error) if isinstance(error, WeightlockError) else None
    except Exception as error:
        return f"{type(error).__name__} at {_place(error)}"
    return None


def _problem_of_message(error: WeightlockError) -> str | None:
    """Checks the sentence that a user would read: one line, short, with nothing in it that a terminal obeys."""
    for text in (error.message, *error.hints):
        if not text.isprintable() or len(text) > MAX_MESSAGE_CHARACTERS or text.endswith("."):
            return f"{type(error).__name__} with a message that cannot be shown, from {_place(error)}"
    return None


def _place(error: BaseException) -> str:
    """Returns where in this project's sources an error was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(ROOT))]
    frames = [frame for frame in frames if "/.venv" not in frame.filename] or frames
    last = frames[-1]
    return f"{Path(last.filename).relative_to(ROOT)}:{last.lineno}"


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
