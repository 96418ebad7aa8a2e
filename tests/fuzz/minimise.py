"""Making the input of a finding smaller, as long as the same thing happens."""

import time

from tests.fuzz.target import Finding, Target, try_input

__all__ = ["minimised"]

MAX_SECONDS = 20.0


def minimised(target: Target, finding: Finding) -> Finding:
    """Returns the finding with an input from which no part can be taken, or as small as it got in some seconds.

    Parts are taken away, large ones first and single bytes last, until none can be: Zeller and Hildebrandt,
    "Simplifying and Isolating Failure-Inducing Input" (2002), in its simplest form.
    """
    data, end = finding.data, time.monotonic() + MAX_SECONDS
    before = len(data) + 1
    while len(data) < before:
        before, size = len(data), len(data)
        while size:
            data = _without_parts(target, finding, data, size, end)
            size = size // 2 if size > 32 else size - 1
    return Finding(finding.target, finding.what, data)


def _without_parts(target: Target, finding: Finding, data: bytes, size: int, end: float) -> bytes:
    """Returns the input without those parts of a size that do not matter."""
    start = 0
    while start < len(data) and time.monotonic() < end:
        shorter = data[:start] + data[start + size :]
        again = try_input(target, shorter)
        if again is not None and again.what == finding.what:
            data = shorter
        else:
            start += 1 if size <= 32 else size
    return data
