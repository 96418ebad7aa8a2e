"""What test_traced.py traces: decrypts, loads and runs locked models with a license, as a customer does.

The first argument is the file of a JSON list of jobs. What models give goes to `found.json`, as one number for each
array, because some give their weights; outputs of `weightlock run` go to a file for each job. Both are files in the
working directory.
"""

import json
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np

from cryptors import CryptorFactory, load_model
from tests.contract.case import Arrays
from tests.contract.cases import CASES
from tests.licensed_box import HARDWARE
from tools.main import run_command_line


def main(jobs: str) -> None:
    cases = {case.name: case for case in CASES}
    found = {}
    for job in json.loads(Path(jobs).read_text()):
        case = cases[job["case"]]
        options = {**job["unlocking"], **case.options}
        decrypted = CryptorFactory.instance(case.model_type).decrypt(job["locked"], **options)
        loaded = load_model(job["locked"], **options)
        found[case.name] = [array_sizes(case.arrays(each)) for each in (decrypted, loaded)]
        if case.run is not None:
            assert run_command_line(["run", job["locked"], *job["run"], "--output", f"{case.name}.npz"]) == 0
    Path("found.json").write_text(json.dumps(found))


def array_sizes(arrays: Arrays) -> dict[str, float]:
    """Returns the sum of each array's magnitudes."""
    return {name: float(np.abs(array).sum(dtype=np.float64)) for name, array in arrays.items()}


if __name__ == "__main__":
    with patch("licensing.unlock.read_hardware", lambda: HARDWARE):
        main(*sys.argv[1:])
