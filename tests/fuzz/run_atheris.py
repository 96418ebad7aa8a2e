"""Fuzzes one target with Atheris, a coverage-guided fuzzer for Python over libFuzzer. Started by scripts/fuzz.py.

    python -m tests.fuzz.run_atheris TARGET INPUTS SECONDS SEED FOLDER

It instruments what it imports, so the package under test must not be imported before; and it ends the process itself.
"""

import os
import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["licensing", "cryptors", "zipfile"]):
    from tests.fuzz.json_mutations import mutate_json
    from tests.fuzz.session import FinishedError, Session
    from tests.fuzz.targets import TARGETS

HANGS_AFTER_SECONDS = 60


def main() -> None:
    """Runs; what it says of its progress is in FOLDER/report.json, what libFuzzer says is on standard error."""
    name, inputs, seconds, seed, folder = sys.argv[1:]
    session = Session(TARGETS[name], int(inputs), float(seconds), Path(folder) / "report.json")

    def one(data: bytes) -> None:
        try:
            session.one(data)
        except FinishedError:
            sys.stderr.flush()
            os._exit(0)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        return mutate_json(data, Random(seed), lambda each: atheris.Mutate(each[:max_size], max_size))[:max_size]

    corpus = Path(folder) / "corpus"
    corpus.mkdir()
    options = [
        f"-seed={seed}",
        f"-max_len={session.target.max_bytes}",
        f"-timeout={HANGS_AFTER_SECONDS}",
        f"-artifact_prefix={folder}/",
        "-len_control=0",
        "-rss_limit_mb=0",
    ]
    seeds = [Path(__file__).parent / kind / name for kind in ("seeds", "found")]
    arguments = [sys.argv[0], *options, str(corpus), *(str(each) for each in seeds if each.is_dir())]
    if session.target.json:
        atheris.Setup(arguments, one, custom_mutator=mutate)
    else:
        atheris.Setup(arguments, one)
    session.limit_memory()
    atheris.Fuzz()


if __name__ == "__main__":
    main()
