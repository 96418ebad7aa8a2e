"""What people and programs read: facts on standard output, one sentence and hints on standard error."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cryptors.parallel import Progress
from licensing.errors import WeightlockError

__all__ = ["print_error", "print_facts", "print_table", "progress_bar", "show_warnings", "size_text"]

SHOW_AFTER_SECONDS = 1.0


def print_facts(facts: Mapping[str, Any], as_json: bool, sentence: Callable[[], None]) -> None:
    """Prints one JSON object, or whatever `sentence` prints for people."""
    if as_json:
        print(json.dumps({"ok": True, **facts}, indent=2))
    else:
        sentence()


def print_table(rows: list[tuple[str, str]]) -> None:
    """Prints names and values in two columns."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")


def print_error(error: WeightlockError, as_json: bool) -> None:
    """Prints an error: a sentence and hints on standard error, and with `as_json` an object on standard output."""
    print(f"weightlock: {error.message}", file=sys.stderr)
    for hint in error.hints:
        print(f"hint: {hint}", file=sys.stderr)
    if as_json:
        facts = {"ok": False, "reason": error.reason, "message": error.message, "hints": list(error.hints)}
        print(json.dumps(facts, indent=2))


def show_warnings() -> None:
    """Lets warnings of the packages, such as that a license ends soon, appear on standard error in our grammar."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("weightlock: warning: %(message)s"))
    logger = logging.getLogger("weightlock")
    logger.addHandler(handler)
    logger.propagate = False


@contextmanager
def progress_bar(description: str) -> Iterator[Progress]:
    """Gives a progress callback that draws a bar on a terminal once the work has taken a second."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    import time

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    task = bar.add_task(description, total=None)
    began = time.monotonic()
    shown = False

    def update(done: int, total: int) -> None:
        nonlocal shown
        if not shown and time.monotonic() - began > SHOW_AFTER_SECONDS:
            bar.start()
            shown = True
        bar.update(task, completed=done, total=total)

    try:
        yield update
    finally:
        if shown:
            bar.stop()


def size_text(size: int) -> str:
    """Returns a size as people read it: "91.2 MB"."""
    value = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
