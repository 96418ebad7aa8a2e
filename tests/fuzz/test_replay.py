"""Every seed and every input that ever made a parser fail is tried again."""

import pytest

from tests.fuzz.make_seeds import seeds
from tests.fuzz.target import HERE, Target, try_input
from tests.fuzz.targets import TARGETS

MAX_SECONDS = 20.0
"""Of processor time, and far more than any of them takes: not to measure, but so that an endless loop has a name."""


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_seeds_and_found_cases(target: Target) -> None:
    findings = [
        (path.name, finding.what)
        for kind in ("seeds", "found")
        for path in target.inputs(kind)
        if (finding := try_input(target, path.read_bytes(), MAX_SECONDS)) is not None
    ]
    assert findings == []


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_parser_accepts_a_seed(target: Target) -> None:
    """Otherwise the fuzzer begins before the first check, and hardly gets behind it."""

    def accepted(data: bytes) -> bool:
        try:
            target.parse(data)
        except target.errors:
            return False
        return True

    assert any(accepted(path.read_bytes()) for path in target.inputs("seeds"))


@pytest.mark.parametrize("kind", ["seeds", "found"])
def test_no_input_is_without_a_target(kind: str) -> None:
    assert {path.name for path in (HERE / kind).iterdir() if path.is_dir()} <= set(TARGETS)


def test_the_seeds_are_those_that_the_script_makes() -> None:
    made = seeds()
    assert set(made) == set(TARGETS)
    # Python may be built with another zlib, which compresses otherwise.
    for name in set(TARGETS) - {"keras-archive"}:
        assert {path.read_bytes() for path in TARGETS[name].inputs("seeds")} == set(made[name])
