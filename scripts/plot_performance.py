"""Draws docs/performance.svg from what `weightlock bench --json` printed: how speed changes with size and threads.

    python scripts/plot_performance.py SIZES.json THREADS.json -o docs/performance.svg

Each file may hold several sizes, and several numbers of threads; each panel takes what it finds. A line that stays
level means that the time grows as the size does.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 860, 400
PANEL_WIDTH, PANEL_HEIGHT, TOP = 330, 250, 50
LEFTS = {"size": 60, "threads": 500}

SERIES = {
    "limit": ("AES-256-GCM limit", "#555555", "6 4"),
    "decrypt": ("decrypting into touched memory", "#e69f00", ""),
    "torch.locked": ("torch, locked", "#0072b2", ""),
    "safetensors.locked": ("safetensors, locked", "#56b4e9", ""),
    "peer.cryptotensors": ("cryptotensors", "#cc79a7", ""),
    "torch.plain": ("torch, plaintext", "#d55e00", "2 3"),
}
"""What is drawn: label, colour and dashes. The colours are those of Okabe and Ito, which the colour-blind can tell."""


@dataclass(frozen=True)
class Point:
    """One measurement: where it stands on the axis, the median of its GB/s, and the slowest and the fastest."""

    x: float
    rate: float
    low: float
    high: float


def main() -> None:
    """Reads the files and writes the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/performance.svg"))
    arguments = parser.parse_args()
    runs = [run for path in arguments.files for run in json.loads(path.read_text())["runs"]]
    arguments.output.write_text(draw(by_size(runs), by_threads(runs)), encoding="utf-8")


def by_size(runs: list[dict[str, Any]]) -> dict[str, list[Point]]:
    """Returns the points of each series over the size in MiB, with the number of threads that each run used most."""
    found: dict[str, dict[float, Point]] = {}
    for run in runs:
        for each in run["measurements"]:
            if each["threads"] == run["threads"]:
                add(found, each, run["bytes"] / 2**20)
    return in_order(found)


def by_threads(runs: list[dict[str, Any]]) -> dict[str, list[Point]]:
    """Returns the points of each series over the number of threads, of the runs that used several."""
    found: dict[str, dict[float, Point]] = {}
    for run in runs:
        if len({each["threads"] for each in run["measurements"]}) > 1:
            for each in run["measurements"]:
                add(found, each, each["threads"])
    return in_order({name: points for name, points in found.items() if len(points) > 1})


def add(found: dict[str, dict[float, Point]], measurement: dict[str, Any], x: float) -> None:
    """Adds a measurement, if it is drawn; of two at the same place the later one counts."""
    if measurement["name"] in SERIES and measurement["page_cache"] == "warm":
        seconds = sorted(measurement.get("touched_seconds", measurement["seconds"]))
        median = measurement.get("median_touched_seconds", measurement["median_seconds"])
        rate, low, high = (measurement["bytes"] / 1e9 / value for value in (median, seconds[-1], seconds[0]))
        found.setdefault(measurement["name"], {})[x] = Point(x, rate, low, high)


def in_order(found: dict[str, dict[float, Point]]) -> dict[str, list[Point]]:
    """Returns the points of each series from left to right."""
    return {name: [found[name][x] for x in sorted(found[name])] for name in SERIES if name in found}


def draw(sizes: dict[str, list[Point]], threads: dict[str, list[Point]]) -> str:
    """Returns the picture as SVG."""
    top = axis_top([point.high for series in (sizes, threads) for points in series.values() for point in points])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *panel("size", "GB/s over the size of the model", sizes, top),
        *panel("threads", "GB/s over the number of threads", threads, top),
        *legend([name for name in SERIES if name in sizes or name in threads]),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def axis_top(rates: list[float]) -> float:
    """Returns a round number that is not below any rate."""
    highest = max(rates, default=1.0)
    step = math.pow(10, math.floor(math.log10(highest)))
    return next(step * factor for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * factor >= highest)


def panel(kind: str, title: str, series: dict[str, list[Point]], top: float) -> list[str]:
    """Returns one panel: axes, labels, and a line with bars from the slowest to the fastest for each series."""
    left, bottom = LEFTS[kind], TOP + PANEL_HEIGHT
    places = sorted({point.x for points in series.values() for point in points})

    def across(x: float) -> float:
        begin, end = (math.log2(places[0]), math.log2(places[-1])) if len(places) > 1 else (0, 2 * math.log2(x) or 1)
        return left + 20 + (PANEL_WIDTH - 40) * (math.log2(x) - begin) / (end - begin)

    def up(rate: float) -> float:
        return bottom - PANEL_HEIGHT * rate / top

    parts = [text(left, TOP - 20, title, "start", 14)]
    for number in range(6):
        value = top * number / 5
        parts.append(line(left, up(value), left + PANEL_WIDTH, up(value), "#dddddd"))
        parts.append(text(left - 6, up(value) + 4, f"{value:g}", "end"))
    for x in places:
        parts.append(line(across(x), bottom, across(x), bottom + 5, "#555555"))
        parts.append(text(across(x), bottom + 19, label(kind, x), "middle"))
    for name, points in series.items():
        _, colour, dashes = SERIES[name]
        path = " ".join(f"{across(point.x):.1f},{up(point.rate):.1f}" for point in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        )
        for point in points:
            parts.append(line(across(point.x), up(point.low), across(point.x), up(point.high), colour))
            parts.append(f'<circle cx="{across(point.x):.1f}" cy="{up(point.rate):.1f}" r="3" fill="{colour}"/>')
    return parts


def label(kind: str, x: float) -> str:
    """Returns what stands below a place on the axis."""
    if kind == "threads":
        return f"{x:g} thread{'s' * (x > 1)}"
    return f"{x / 1024:g} GiB" if x >= 1024 else f"{x:g} MiB"


def legend(names: list[str]) -> list[str]:
    """Returns the legend, in two rows below the panels."""
    parts = []
    for number, name in enumerate(names):
        x, y = 60 + 260 * (number % 3), HEIGHT - 42 + 22 * (number // 3)
        title, colour, dashes = SERIES[name]
        parts.append(line(x, y - 4, x + 26, y - 4, colour, dashes, 2))
        parts.append(text(x + 32, y, title, "start"))
    return parts


def line(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str = "", width: int = 1) -> str:
    """Returns a straight line."""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dashes}"/>'


def text(x: float, y: float, content: str, anchor: str, size: int = 12) -> str:
    """Returns a text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#222222">{content}</text>'


if __name__ == "__main__":
    main()
