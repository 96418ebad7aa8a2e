"""A state directory for homes that are made only to be thrown away, in the demo and in the bench."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from licensing.homes import STATE_VARIABLE

__all__ = ["own_state"]


@contextmanager
def own_state(folder: Path) -> Iterator[None]:
    """Puts twins of time states into a folder, here and in processes that are started meanwhile.

    Otherwise, each run would leave a file in the user's own state directory.
    """
    before = os.environ.get(STATE_VARIABLE)
    os.environ[STATE_VARIABLE] = str(folder / "state")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(STATE_VARIABLE)
        else:
            os.environ[STATE_VARIABLE] = before
