"""The picture in docs/performance.md, from what the bench says as JSON."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.command_line import ROOT

SCRIPT = ROOT / "scripts" / "plot_performance.py"


def measurement(name: str, threads: int, seconds: float, size: int) -> dict[str, Any]:
    return {
        "name": name,
        "threads": threads,
        "page_cache": "warm",
        "bytes": size,
        "seconds": [seconds, 2 * seconds],
        "median_seconds": seconds,
    }


def plotted(folder: Path, *runs: list[dict[str, Any]]) -> ElementTree.Element:
    """Returns the picture of some runs, each in a file of its own."""
    files = []
    for number, run in enumerate(runs):
        files.append(folder / f"{number}.json")
        files[-1].write_text(json.dumps({"runs": run}))
    subprocess.run([sys.executable, SCRIPT, *files, "-o", folder / "plot.svg"], check=True)
    return ElementTree.fromstring((folder / "plot.svg").read_text(encoding="utf-8"))


def count(picture: ElementTree.Element, tag: str) -> int:
    return len(picture.findall(f"{{http://www.w3.org/2000/svg}}{tag}"))


def test_sizes_and_threads_are_drawn(tmp_path: Path) -> None:
    names = ["limit", "torch.plain", "torch.locked", "what nobody draws"]
    sizes = [
        {"bytes": size, "threads": 2, "measurements": [measurement(name, 2, size / 1e9, size) for name in names]}
        for size in (64 * 2**20, 2**30, 5 * 2**30)
    ]
    more = [measurement(name, count, 1 / count, 2**30) for name in names for count in (1, 2)]
    picture = plotted(tmp_path, sizes, [{"bytes": 2**30, "threads": 2, "measurements": more}])
    assert count(picture, "polyline") == 2 * 3
    assert count(picture, "circle") == 3 * 3 + 3 * 2
    shown = {element.text for element in picture.iter() if element.text}
    assert {"64 MiB", "1 GiB", "5 GiB", "1 thread", "2 threads", "torch, locked", "AES-256-GCM limit"} <= shown
    assert "what nobody draws" not in shown


def test_one_size_alone_is_drawn(tmp_path: Path) -> None:
    run = {"bytes": 2**30, "threads": 2, "measurements": [measurement("limit", 2, 0.1, 2**30)]}
    assert count(plotted(tmp_path, [run]), "circle") == 1
