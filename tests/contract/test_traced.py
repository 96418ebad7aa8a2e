"""No plaintext of any kind of model reaches a file system while it is decrypted, loaded and run.

The models of each framework are used in one process under strace. Their weights are a known pattern: whatever the
process writes, opens for writing or maps is looked at, and in the end every file that it could have left.
tests/test_no_plaintext_on_disk.py shows that the same eyes see the pattern where a program does write it.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tests
from tests.contract.case import Case
from tests.contract.cases import CASES
from tests.contract.networks import PATTERNED
from tests.contract.subject import Subject, array_digests, lock
from tests.licensed_box import LicensedBox
from tests.patterned_models import holds_pattern
from tests.plaintext_watch import leaks, opened_for_writing, watched

# PyTorch deprecates TorchScript, which users have all the same.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")]

FRAMEWORKS: dict[str, list[Case]] = {}
for _case in CASES:
    if _case.is_real:
        FRAMEWORKS.setdefault(next(iter(_case.needs)), []).append(_case)

HARMLESS = {
    r"^/dev/null$": "it keeps nothing",
    r"/__pycache__/": "what Python compiled, on the first run of a new install",
    r"/scratch/[a-z0-9_]{8}$": "Python's module tempfile tries whether files can be made in the temporary directory",
    r"/scratch/\.keras/keras\.json$": "Keras's settings, made when it is imported for the first time",
}
"""Files that frameworks write, each with what is in it."""


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_nothing_of_a_model_is_written(framework: str, tmp_path: Path, licensed_box: LicensedBox) -> None:
    subjects = [patterned(case, tmp_path / case.name, licensed_box) for case in FRAMEWORKS[framework]]
    (tmp_path / "jobs.json").write_text(json.dumps([job(subject) for subject in subjects]))
    (tmp_path / "trace").mkdir()
    scratch = tmp_path / "trace" / "scratch"
    program = [sys.executable, "-m", "tests.contract.traced_program", tmp_path / "jobs.json"]
    lines = watched(program, scratch.parent, PYTHONPATH=str(Path(tests.__file__).parent.parent))
    for subject in subjects:
        check_outputs(subject, scratch)
    assert leaks(lines) == []
    outputs = {f"{subject.case.name}.npz" for subject in subjects if subject.case.run is not None}
    # `weightlock run` opens the folder of its output.
    assert unknown(opened_for_writing(lines)) == {"found.json", *(["."] if outputs else [])}
    left = unknown(str(path) for path in files(scratch))
    assert left == {str(scratch / name) for name in {"found.json", *outputs}}
    assert not any(holds_pattern(path.read_bytes()) for path in files(scratch))
    assert not any(holds_pattern(path.read_bytes()) for path in files(Path("/dev/shm")))


def patterned(case: Case, folder: Path, box: LicensedBox) -> Subject:
    """Locks a model that could be recognised."""
    folder.mkdir()
    subject = lock(case, PATTERNED, folder, box)
    assert any(holds_pattern(path.read_bytes()) for path in files(folder / "plain")), "nobody could see a leak"
    assert not holds_pattern(subject.locked.read_bytes())
    return subject


def job(subject: Subject) -> dict[str, Any]:
    """Returns what the traced program has to know of a model."""
    x = subject.locked.parent / "x.npz"
    np.savez(x, **subject.case.inputs(PATTERNED))
    unlocking = {name: str(path) for name, path in subject.box.unlocking(subject.license).items() if name != "hardware"}
    run = [*subject.box.arguments(subject.license), "--input", str(x), *subject.case.run_arguments(PATTERNED)]
    return {"case": subject.case.name, "locked": str(subject.locked), "unlocking": unlocking, "run": run}


def check_outputs(subject: Subject, scratch: Path) -> None:
    """Asserts that the model was there at all: that the outputs are those of its weights."""
    case = subject.case
    found = json.loads((scratch / "found.json").read_text())
    assert found[case.name] == [array_digests(subject.expected)] * 2
    if case.run is not None:
        with np.load(scratch / f"{case.name}.npz", allow_pickle=False) as archive:
            assert array_digests(dict(archive)) == array_digests(case.run(subject.plaintext))


def unknown(paths: Iterable[str]) -> set[str]:
    """Returns the paths that nobody has looked at yet."""
    return {path for path in paths if not any(re.search(harmless, path) for harmless in HARMLESS)}


def files(folder: Path) -> list[Path]:
    """Returns everything in a folder that is no folder itself."""
    return [path for path in folder.rglob("*") if not path.is_dir()]
