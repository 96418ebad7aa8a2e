"""What test_traced.py traces: decrypts, loads and runs locked models with a license, as a customer does.

The first argument is the file of a JSON list of jobs. The outputs' digests go to `found.json`, and those of
`weightlock run` to a file for each job, in the working directory.
"""

import json
import sys
from pathlib import Path
from unittest.mock import patch

from cryptors import CryptorFactory, load_model
from tests.contract.cases import CASES
from tests.contract.subject import array_digests
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
        found[case.name] = [array_digests(case.arrays(each)) for each in (decrypted, loaded)]
        if case.run is not None:
            assert run_command_line(["run", job["locked"], *job["run"], "--output", f"{case.name}.npz"]) == 0
    Path("found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    with patch("licensing.unlock.read_hardware", lambda: HARDWARE):
        main(*sys.argv[1:])
