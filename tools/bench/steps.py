"""A bar that shows how far a run is. It draws between the measurements, and never during one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tools.bench.rounds import Step

__all__ = ["steps"]


@contextmanager
def steps(count: int) -> Iterator[Step]:
    """Gives what is called before each of so many steps; it draws on standard error where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # rich would draw from a thread of its own, which takes time from what is measured.
    bar = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
    task = bar.add_task("", total=count)
    with bar:

        def step(text: str) -> None:
            bar.update(task, description=text[:32])
            bar.refresh()
            bar.advance(task)

        yield step
