"""What a run of the bench measures, as the command line says it."""

import re
from dataclasses import dataclass
from pathlib import Path

from cryptors.parallel import default_threads
from licensing.errors import UsageError

__all__ = ["MIB", "Settings", "parse_sizes", "size_name", "thread_counts"]

KIB, MIB, GIB, TIB = (1024**power for power in (1, 2, 3, 4))
_UNITS = {"kib": KIB, "mib": MIB, "gib": GIB, "kb": 10**3, "mb": 10**6, "gb": 10**9}

GRAIN = 64 * KIB
"""Sizes are rounded down to a multiple of this: four tensors whose rows are 16 KiB."""

EACH_COUNT_UP_TO = 8
"""Up to so many threads every number is measured, and from there on each double of the one before."""


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes:
        model: a plaintext model of the user's; None for random ones.
        sizes: of the random models, in bytes.
        types: the model types; those that nobody named may be left out where they turn out not to work.
        types_named: whether the user named the types.
        threads: how many threads decrypt.
        more_threads: other numbers of threads with which everything that takes threads is measured as well.
        repeat: how often each is measured, after one time that does not count.
        cold: whether to measure with the page cache dropped, too.
        peers: whether to measure what others offer, where it is installed.
    """

    model: Path | None
    sizes: tuple[int, ...]
    types: tuple[str, ...]
    types_named: bool
    threads: int
    more_threads: tuple[int, ...]
    repeat: int
    cold: bool
    peers: bool


def parse_sizes(text: str) -> tuple[int, ...]:
    """Returns the sizes that a text such as "64MiB,1GiB" names, in bytes.

    Raises:
        UsageError: it names none, or one that cannot be meant.
    """
    return tuple(_parse_size(part.strip()) for part in text.split(","))


def _parse_size(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?([kmg]i?b)", text, re.IGNORECASE)
    if match is None:
        raise UsageError(f"{text[:30]!r} is not a size", "write 64MiB or 1GiB, or several: 64MiB,256MiB,1GiB")
    size = int(float(match[1]) * _UNITS[match[2].lower()]) // GRAIN * GRAIN
    if not MIB <= size <= TIB:
        raise UsageError(f"a model of {text} cannot be measured", "from 1MiB on, up to 1024GiB")
    return size


def size_name(size: int) -> str:
    """Returns a size as the command line takes it: "1 GiB"."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size / KIB:.4g} KiB"


def thread_counts(threads: int | None, all_threads: bool) -> tuple[int, tuple[int, ...]]:
    """Returns with how many threads to measure, and with which other numbers as well."""
    most = threads or default_threads()
    if not all_threads:
        return most, ()
    counts = [*range(1, min(most, EACH_COUNT_UP_TO + 1))]
    while counts and counts[-1] * 2 < most and counts[-1] >= EACH_COUNT_UP_TO:
        counts.append(counts[-1] * 2)
    return most, tuple(counts)
