"""Fuzzes one target with `tests.fuzz.guided`; arguments and report as in `tests.fuzz.run_atheris`."""

import sys
from pathlib import Path

from tests.fuzz.guided import fuzz
from tests.fuzz.session import Session
from tests.fuzz.targets import TARGETS


def main() -> None:
    """Runs; says at the end how many lines were reached, as libFuzzer does for what it counts."""
    name, inputs, seconds, seed, folder = sys.argv[1:]
    session = Session(TARGETS[name], int(inputs), float(seconds), Path(folder) / "report.json")
    session.limit_memory()
    print(f"cov: {fuzz(session, int(seed))}", file=sys.stderr)


if __name__ == "__main__":
    main()
