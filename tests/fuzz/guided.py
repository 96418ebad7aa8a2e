"""A small coverage-guided fuzzer, where Atheris is not installed and for the short runs of the tests.

It keeps each input that reaches a line of this project that no input reached before, and changes what it keeps.
Watching lines makes it much slower than Atheris; it needs nothing, and does the same each time for the same seed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import CodeType, FrameType
from typing import Any

from tests.fuzz.byte_mutations import mutate_bytes
from tests.fuzz.json_mutations import mutate_json
from tests.fuzz.session import FinishedError, Session
from tests.fuzz.target import ROOT

__all__ = ["fuzz"]

_WATCHED = tuple(f"{ROOT / package}/" for package in ("licensing", "cryptors"))


def fuzz(session: Session, seed: int) -> int:
    """Fuzzes until the session is over; returns how many lines were reached."""
    random, lines = Random(seed), Lines()
    kept = [path.read_bytes() for kind in ("seeds", "found") for path in session.target.inputs(kind)] or [b""]
    try:
        for data in list(kept):
            with lines.watched():
                session.one(data)
        while True:
            # What was found last leads further more often than what all began with.
            data = kept[-1 - min(int(random.expovariate(0.05)), len(kept) - 1)]
            changed = _mutated(session, data, random)[: session.target.max_bytes]
            before = len(lines.seen)
            with lines.watched():
                session.one(changed)
            if len(lines.seen) > before:
                kept.append(changed)
    except FinishedError:
        return len(lines.seen)


class Lines:
    """The lines of the project that were run so far."""

    def __init__(self) -> None:
        self.seen: set[tuple[CodeType, int]] = set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watches what runs inside."""
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(_WATCHED) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.seen.add((frame.f_code, frame.f_lineno))
        return self._line


def _mutated(session: Session, data: bytes, random: Random) -> bytes:
    if session.target.json:
        return mutate_json(data, random, lambda each: mutate_bytes(each, random))
    return mutate_bytes(data, random)
