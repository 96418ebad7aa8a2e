"""Fuzzes the parsers: each target in a process of its own, one after the other. CONTRIBUTING.md, section "Fuzzing".

    python scripts/fuzz.py [TARGET ...] [--inputs 1000000] [--seconds N] [--seed N] [--json]

With Atheris (`pip install --group fuzz`), and without it with a small fuzzer of this project that is slower. Inputs
that a parser did not handle are made small and kept under tests/fuzz/found, where the tests try them again from then
on.
"""

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.fuzz.targets import TARGETS  # noqa: E402

FOUND = ROOT / "tests" / "fuzz" / "found"
PRINT_EVERY_SECONDS = 10.0


def main() -> int:
    """Fuzzes; returns 1 if anything was found."""
    parser = argparse.ArgumentParser(description="Fuzzes the parsers.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all of {', '.join(TARGETS)}")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many inputs for each target")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for how long at most for each target")
    parser.add_argument("--seed", type=int, default=1, help="where the random numbers begin; not 0")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each target")
    options = parser.parse_args()
    if unknown := sorted(set(options.targets) - set(TARGETS)):
        parser.error(f"there is no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    found = False
    for name in options.targets or TARGETS:
        result = fuzz(name, options.inputs, options.seconds, options.seed, quiet=options.json)
        print(json.dumps(result) if options.json else line(result), flush=True)
        for what, file_name in result["findings"].items():
            print(f"  {what}: tests/fuzz/found/{name}/{file_name}", file=sys.stderr, flush=True)
        found = found or bool(result["findings"])
    return int(found)


def fuzz(name: str, inputs: int, seconds: float, seed: int, quiet: bool) -> dict[str, Any]:
    """Fuzzes one target, and returns how that went."""
    engine = "atheris" if importlib.util.find_spec("atheris") else "guided"
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        log, report = Path(folder) / "log", Path(folder) / "report.json"
        arguments = [name, str(inputs), str(seconds), str(seed), folder]
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", f"tests.fuzz.run_{engine}", *arguments],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                watch(process, name, report, quiet)
            finally:
                process.kill()
                process.wait()
        result = read(report)
        text = log.read_text(errors="replace")
        covered = re.findall(r"\bcov: (\d+)", text)
        if not result["finished"]:
            result["findings"][f"the process ended ({process.returncode}): {last_line(text)}"] = kept(name, folder)
        rate = round(result["inputs"] / max(result["seconds"], 0.1))
        return {
            "target": name,
            "engine": engine,
            **result,
            "rate": rate,
            "coverage": int(covered[-1]) if covered else 0,
        }


def watch(process: "subprocess.Popen[bytes]", name: str, report: Path, quiet: bool) -> None:
    """Waits for a process, and says now and then how far it is."""
    printed = time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        if not quiet and time.monotonic() - printed > PRINT_EVERY_SECONDS:
            printed = time.monotonic()
            now = read(report)
            print(f"{name}: {now['inputs']} inputs in {now['seconds']:.0f} s", flush=True)


def read(report: Path) -> dict[str, Any]:
    """Returns what a process said last."""
    try:
        said: dict[str, Any] = json.loads(report.read_text())
        return said
    except FileNotFoundError:
        return {"inputs": 0, "seconds": 0.0, "findings": {}, "finished": False}


def kept(name: str, folder: str) -> str:
    """Keeps the input at which libFuzzer gave up, which is one that takes too long; returns its file's name."""
    for artifact in Path(folder).glob("*-*"):
        (FOUND / name).mkdir(parents=True, exist_ok=True)
        (FOUND / name / artifact.name[:32]).write_bytes(artifact.read_bytes())
        return artifact.name[:32]
    return ""


def last_line(text: str) -> str:
    """Returns the last words of a log."""
    lines = [each.strip() for each in text.splitlines() if each.strip()]
    return lines[-1][:200] if lines else "it said nothing"


def line(result: dict[str, Any]) -> str:
    """Returns a result for people."""
    findings = len(result["findings"])
    return (
        f"{result['target']}: {result['inputs']} inputs in {result['seconds']:.0f} s ({result['rate']} in a second, "
        f"{result['engine']}), coverage {result['coverage']}, {findings} finding{'s' * (findings != 1)}"
    )


if __name__ == "__main__":
    sys.exit(main())
