"""Weights that are one pattern of 64 bytes, again and again, so that a copy of them is recognised."""

import numpy

__all__ = ["PATTERN", "SIZE", "WEIGHTS", "holds_pattern"]

SIZE = 1024
"""The weights are a matrix of so many rows and columns: 4 MiB, several segments."""

_NUMBERS = (0.5 + numpy.random.default_rng(2).random(16) / 2).astype(numpy.float32)
PATTERN = _NUMBERS.tobytes()
WEIGHTS = numpy.tile(_NUMBERS, SIZE * SIZE // 16).reshape(SIZE, SIZE)

_WINDOW_BYTES = 16
_WINDOWS = [(PATTERN + PATTERN)[start : start + _WINDOW_BYTES] for start in range(len(PATTERN))]


def holds_pattern(data: bytes) -> bool:
    """Returns whether sixteen bytes of the pattern, wherever they begin in it, are in some data."""
    return any(window in data for window in _WINDOWS)
