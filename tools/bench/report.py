"""What people read of a run: the machine, a table, what follows from it, and bars."""

import textwrap
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.bench.candidate import CALL, TOUCHED, Measurement, Results
from tools.bench.chart import print_chart
from tools.bench.findings import findings
from tools.bench.settings import Settings, size_name
from tools.output import size_text

__all__ = ["print_report"]

MAX_COLUMNS = 80

COUNTERPARTS = {"encrypt": "copy", "start.locked": "start.plain"}
"""What a candidate is compared with in its line, where that is not its plaintext."""

NOTHING_READ_FROM = 100.0
"""GB/s that no memory has: whoever was as fast did not read the model."""

STALLS_FROM = 20
"""Waits for huge pages in a round, of the hundreds or thousands that it takes, from which on it is worth a word."""

WARM_FROM, COLD_UP_TO = 0.99, 0.02
"""Parts of the files in the page cache: what counts as warm, and what as dropped."""


def print_report(settings: Settings, facts: dict[str, Any]) -> None:
    """Prints the report of `run_bench` to standard output, at most 80 columns wide."""
    _print_machine(facts["machine"])
    for results in facts["runs"]:
        print()
        _print_results(settings, results)


def _print_machine(machine: dict[str, Any]) -> None:
    aes = ", ".join(machine["aes_instructions"]) or "no AES instructions"
    storage = machine["storage"]
    rows = {
        "processor": f"{machine['processor']} ({aes})",
        "processors": f"{machine['processors']}, of which this process may use {machine['processors_usable']}",
        "memory": f"{size_text(machine['memory_bytes'])}, {size_text(machine['memory_available_bytes'])} available",
        "huge pages": f"{machine['huge_pages']}; of memory files: {machine['huge_pages_of_memory_files']}",
        "storage": f"{storage['file_system']} on {storage['device']}",
        "kernel": machine["kernel"],
    }
    rows["versions"] = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    for name, value in rows.items():
        _print_wrapped(f"{name:<10}  ", value)


def _print_wrapped(beginning: str, text: str) -> None:
    """Prints a text whose further lines stand under the first one's."""
    print(textwrap.fill(text, MAX_COLUMNS, initial_indent=beginning, subsequent_indent=" " * len(beginning)))


def _print_results(settings: Settings, results: Results) -> None:
    rounds = f"{settings.repeat} rounds" if settings.repeat > 1 else "one round"
    print(f"A model of {size_name(results.size)}, {results.threads} threads, medians of {rounds}:")
    console = Console(width=MAX_COLUMNS, highlight=False)
    with console.capture() as table:
        console.print(_table(results))
    for line in table.get().splitlines():
        print(line.rstrip())
    for sentence in [*findings(results), *_circumstances(settings, results)]:
        _print_wrapped("- ", sentence)
    for label, why in results.left_out:
        _print_wrapped("- ", f"left out: {label}: {why}")
    print()
    print_chart(results)


def _table(results: Results) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for name in ("median", "min–max", "GB/s", "of AES", "against", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for measurement in results.measurements:
        table.add_row(*_row(results, measurement, CALL))
        # A load that only maps the file has read nothing; where the pages cost more, that is a line of its own.
        if measurement.candidate.size and _only_maps(measurement):
            table.add_row(*_row(results, measurement, TOUCHED))
    return table


def _only_maps(measurement: Measurement) -> bool:
    name = measurement.candidate.name
    return name.startswith("safetensors.") and bool(measurement.seconds(TOUCHED))


def _row(results: Results, measurement: Measurement, what: str) -> list[str]:
    candidate = measurement.candidate
    if candidate.name.endswith(".lazy"):
        what = TOUCHED
    label = "  and every page read" if what == TOUCHED and candidate.size else candidate.label
    seconds, median = measurement.seconds(what), measurement.median(what)
    return [
        label,
        _time(median),
        f"{_number(min(seconds), median)}–{_number(max(seconds), median)}",
        _rate(measurement, what),
        _of_limit(results, measurement, what),
        _against(results, measurement, what),
        _memory(measurement) if what == CALL else "",
    ]


def _rate(measurement: Measurement, what: str) -> str:
    if not measurement.candidate.size:
        return ""
    rate = measurement.rate(what) / 1e9
    return f"{rate:.2f}" if rate < NOTHING_READ_FROM else ""


def _of_limit(results: Results, measurement: Measurement, what: str) -> str:
    limit = results.find("limit", measurement.candidate.threads)
    if limit is None or measurement.candidate.name in ("limit", "copy") or not _rate(measurement, what):
        return ""
    return f"{measurement.rate(what) / limit.rate():.0%}"


def _memory(measurement: Measurement) -> str:
    peak, size = measurement.peak_bytes, measurement.candidate.size
    return "" if peak is None else f"{peak / size:.2f}"


def _against(results: Results, measurement: Measurement, what: str) -> str:
    """Returns how many times as fast it is as the plaintext, or as what else it stands beside."""
    candidate = measurement.candidate
    name = COUNTERPARTS.get(candidate.name)
    if candidate.name.startswith("peer."):
        name = "torch.plain"
    elif name is None and ".locked" in candidate.name:
        name = candidate.name.replace(".locked", ".plain")
    other = results.find(name, cold=candidate.cold) if name is not None else None
    if other is None or not other.seconds(what):
        return ""
    factor = other.median(what) / measurement.median(what)
    return f"{factor:.2f} ×" if factor >= 0.1 else f"{factor:.1g} ×"


def _time(seconds: float) -> str:
    return f"{_number(seconds, seconds)} {'s' if seconds >= 1 else 'ms'}"


def _number(seconds: float, like: float) -> str:
    """Returns seconds in the unit that fits another time."""
    if like >= 1:
        return f"{seconds:.2f}"
    milliseconds = seconds * 1000
    return f"{milliseconds:.{0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2}f}"


def _circumstances(settings: Settings, results: Results) -> list[str]:
    """Returns whether page cache and huge pages were as they should be."""
    lines = []
    warm = [share for each in results.measurements if not each.candidate.cold for share in each.cached]
    cold = [share for each in results.measurements if each.candidate.cold for share in each.cached]
    if warm:
        state = "warm" if min(warm) >= WARM_FROM else "NOT WARM: the files do not fit into memory"
        lines.append(f"page cache: {state} (at least {min(warm):.0%} of each file before each run)")
    if cold:
        state = "dropped" if max(cold) <= COLD_UP_TO else "NOT DROPPED: this file system keeps it"
        lines.append(f"page cache of the rows named cold: {state} (at most {max(cold):.0%} of each file)")
    stalls = sum(each.stalls for each in results.measurements)
    if stalls > STALLS_FROM * settings.repeat:
        lines.append(
            f"huge pages: {stalls} times the kernel had to move other memory first, or gave small pages instead, which "
            "makes loading slower than it is with free memory"
        )
    return lines
