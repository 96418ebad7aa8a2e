"""Makes the test vectors of docs/spec again and writes them here, or compares them with what is here.

    python tests/vectors/make_vectors.py            write the vectors
    python tests/vectors/make_vectors.py --check    print what differs, and exit with 1 if anything does

The modules beside this one are a second implementation, written from the specification alone: nothing in them imports
the packages under test. origin.md says how each vector is made.
"""

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if __package__ in (None, ""):
    # Run by its path, Python would look for modules in this directory and not in the repository.
    sys.path[0] = str(HERE.parents[1])

from tests.vectors import clock_vectors, container_vectors, license_vectors  # noqa: E402
from tests.vectors.bad_license_files import bad_license_files  # noqa: E402
from tests.vectors.bad_licenses import bad_licenses, context  # noqa: E402
from tests.vectors.bad_requests import bad_requests, bad_trust_files  # noqa: E402

MAX_DIFFERENCES = 40


def all_vectors() -> dict[str, Any]:
    """Returns the content of every file of vectors, by its name."""
    return {
        "keys.json": license_vectors.keys(),
        "derivations.json": license_vectors.derivations(),
        "trust.json": {"good": license_vectors.trust_files(), "bad": bad_trust_files()},
        "request.json": {"good": license_vectors.requests(), "bad": bad_requests()},
        "license.json": {
            "trust": license_vectors.TRUST_FILE,
            "good": license_vectors.licenses(),
            "context_of_bad": context(),
            "bad": [*bad_license_files(), *bad_licenses()],
        },
        "clock.json": clock_vectors.clock(),
        "container.json": container_vectors.containers(),
    }


def encode(vectors: Any) -> str:
    """Returns a file of vectors; ASCII, so that no editor or mail changes it."""
    return json.dumps(vectors, indent=1) + "\n"


def write() -> None:
    for name, vectors in all_vectors().items():
        (HERE / name).write_text(encode(vectors), encoding="ascii")


def differences() -> list[str]:
    """Returns the lines of a unified diff from the vectors that are here to the ones made again."""
    lines: list[str] = []
    expected = {name: encode(vectors) for name, vectors in all_vectors().items()}
    for path in sorted({*HERE.glob("*.json"), *(HERE / name for name in expected)}):
        here = path.read_text(encoding="utf-8") if path.exists() else ""
        again = expected.get(path.name, "")
        lines += difflib.unified_diff(here.splitlines(), again.splitlines(), path.name, "made again", "", "", 1, "")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes the test vectors of docs/spec.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if not parser.parse_args().check:
        write()
        return 0
    lines = differences()
    for line in lines[:MAX_DIFFERENCES]:
        print(line if len(line) <= 200 else line[:200] + " …")
    if len(lines) > MAX_DIFFERENCES:
        print(f"… and {len(lines) - MAX_DIFFERENCES} lines more")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
