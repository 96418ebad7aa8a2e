"""What trying.py starts: locks, loads and uses models that may be bad.

Each line of standard input is a JSON list: the name of a case, the path of a plaintext model, and the path of the
locked model to write. What became of it goes to standard output, as the members of `trying.Tried` in a line.
"""

import contextlib
import gc
import json
import os
import resource
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from cryptors import CryptorFactory, load_model
from licensing.errors import WeightlockError
from tests.contract.case import Arrays, Case
from tests.contract.cases import CASES
from tests.contract.networks import TINY
from tests.contract.subject import array_digests

KEY = bytes(range(32))
OPEN_FILES = 1024
"""What a process may open where nobody changed that."""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Frameworks print to standard output.
    cases = {case.name: case for case in CASES}
    for line in sys.stdin:
        name, plaintext, locked = json.loads(line)
        before, there = memory_files(), set(os.listdir(tempfile.gettempdir()))
        with cases[name].stand_in():
            tried = try_model(cases[name], plaintext, locked)
        gc.collect()
        gc.freeze()  # What frameworks keep for themselves would be looked through each time.
        tried["memory_files"] = memory_files() - before
        tried["left"] = sorted(set(os.listdir(tempfile.gettempdir())) - there)
        print(json.dumps(tried), file=answers, flush=True)


def try_model(case: Case, plaintext: str, locked: str) -> dict[str, Any]:
    stage = "encrypt"
    try:
        CryptorFactory.instance(case.model_type).encrypt(plaintext, KEY, locked)
        stage = "load"
        loaded = load_model(locked, crypt_key=KEY, **case.options)
        stage = "use"
        return {"stage": "done", "arrays": array_digests(arrays(case, loaded))}
    except WeightlockError as error:
        return {"stage": stage, "reason": error.reason, "message": error.message}
    except Exception as error:
        return {"stage": stage, "raw": "".join(traceback.format_exception(error))}


def arrays(case: Case, loaded: Any) -> Arrays:
    """Returns what a model gives; where its framework fails, what `weightlock run` would make of that."""
    try:
        return case.arrays(loaded)
    except Exception:
        return CryptorFactory.instance(case.model_type).infer(loaded, case.inputs(TINY), "cpu")


def memory_files() -> int:
    """Returns how many memory files the process has open or mapped."""
    found = Path("/proc/self/maps").read_text().count("/memfd:")
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # The folder itself was open while it was read.
            found += os.readlink(link).startswith("/memfd:")
    return found


if __name__ == "__main__":
    main()
