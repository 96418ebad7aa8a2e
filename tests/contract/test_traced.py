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

from tests.command_line import ROOT
from tests.contract.case import Case
from tests.contract.cases import CASES
from tests.contract.networks import PATTERNED
from tests.contract.subject import Subject, lock
from tests.contract.traced_program import array_sizes
from tests.licensed_box import LicensedBox
from tests.patterned_models import holds_pattern
from tests.plaintext_watch import leaks, opened_for_writing, watched

# PyTorch deprecates TorchScript, which users have all the same.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")]

FRAMEWORKS: dict[str, list[Case]] = {}
for _case in CASES:
    if _case.is_real:
        FRAMEWORKS.setdefault(next(iter(_case.needs)), []).append(_case)

STAYING = {
    r"/__pycache__/": "what Python compiled, on the first run of a new install",
    r"/scratch/\.keras/keras\.json$": "Keras's settings, made when it is imported for the first time",
}
HARMLESS = {
    **STAYING,
    r"^/dev/null$": "it keeps nothing",
    r"/licensed-box\d+/home$": "the customer's home, into which the time state is written",
    r"^/dev/tty$": "the terminal of the shell that Paddle starts on import, to ask for the version of the C library",
    r"/scratch/[a-z0-9_]{8}$": "Python's module tempfile tries whether files can be made in the temporary directory",
}
"""Files that are opened for writing, and those of them that stay, each with what it is."""


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_nothing_of_a_model_is_written(framework: str, tmp_path: Path, licensed_box: LicensedBox) -> None:
    subjects = [patterned(case, tmp_path / case.name, licensed_box) for case in FRAMEWORKS[framework]]
    (tmp_path / "jobs.json").write_text(json.dumps([job(subject) for subject in subjects]))
    (tmp_path / "trace").mkdir()
    scratch = tmp_path / "trace" / "scratch"
    program = ("tests.contract.traced_program", tmp_path / "jobs.json")
    lines = watched([sys.executable, "-m", *program], scratch.parent, PYTHONPATH=str(ROOT))
    for subject in subjects:
        check_outputs(subject, scratch)
    assert leaks(lines) == []
    outputs = {f"{subject.case.name}.npz" for subject in subjects if subject.case.run is not None}
    # `weightlock run` opens the folder of its output.
    assert unlisted(HARMLESS, opened_for_writing(lines)) == {"found.json", *(["."] if outputs else [])}
    left = [*files(scratch), *files(Path("/dev/shm"))]
    assert not [path for path in left if holds_pattern(path.read_bytes())]
    left_in_scratch = unlisted(STAYING, map(str, files(scratch)))
    assert left_in_scratch == {str(scratch / name) for name in {"found.json", *outputs}}


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
    """Asserts that the model was there at all: that outputs are those of its weights, whichever way it was opened."""
    case, expected = subject.case, array_sizes(subject.expected)
    for found in json.loads((scratch / "found.json").read_text())[case.name]:
        assert found == pytest.approx(expected, rel=1e-4)
    if case.run is not None:
        expected = array_sizes(case.run(subject.plaintext))
        with np.load(scratch / f"{case.name}.npz", allow_pickle=False) as archive:
            assert array_sizes(dict(archive)) == pytest.approx(expected, rel=1e-4)


def unlisted(patterns: Iterable[str], paths: Iterable[str]) -> set[str]:
    """Returns the paths that no pattern is for."""
    return {path for path in paths if not any(re.search(pattern, path) for pattern in patterns)}


def files(folder: Path) -> list[Path]:
    """Returns everything in a folder that is no folder itself."""
    return [path for path in folder.rglob("*") if not path.is_dir()]
