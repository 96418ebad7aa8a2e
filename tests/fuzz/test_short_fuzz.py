"""A short run of the fuzzer on each parser, always with the same inputs; `make fuzz` makes the long one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.guided import fuzz
from tests.fuzz.session import Session
from tests.fuzz.target import ROOT, Target
from tests.fuzz.targets import TARGETS

INPUTS = 1500
MIN_INPUTS = 200
MAX_SECONDS = 20.0

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_short_fuzz(target: Target, tmp_path: Path) -> None:
    session = Session(target, INPUTS, MAX_SECONDS, found=tmp_path)
    lines = fuzz(session, seed=20261123)
    assert {what: finding.data for what, finding in session.findings.items()} == {}
    assert session.inputs >= MIN_INPUTS
    assert lines > 5


def test_the_script(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "scripts/fuzz.py", "content-key", "trust-file", "--inputs", "500", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    results = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [(each["target"], each["inputs"], each["findings"]) for each in results] == [
        ("content-key", 500, {}),
        ("trust-file", 500, {}),
    ]
    assert all(each["coverage"] > 0 for each in results)
