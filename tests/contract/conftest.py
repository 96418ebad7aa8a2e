"""Each kind of model once per test run: written, locked and licensed. Tests read these files and never change them."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.contract.case import Case
from tests.contract.cases import CASES
from tests.contract.networks import TINY, WIDE
from tests.contract.subject import Subject, lock
from tests.licensed_box import LicensedBox


def name_of(case: Case) -> str:
    return case.name


@pytest.fixture(scope="session", params=CASES, ids=name_of)
def tiny(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, licensed_box: LicensedBox
) -> Subject:
    """The smallest model of each kind, within one segment."""
    with request.param.stand_in():
        return lock(request.param, TINY, tmp_path_factory.mktemp("tiny"), licensed_box)


@pytest.fixture(scope="session", params=CASES, ids=name_of)
def wide(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, licensed_box: LicensedBox
) -> Subject:
    """A model of each kind whose segments are shared out among threads."""
    with request.param.stand_in():
        return lock(request.param, WIDE, tmp_path_factory.mktemp("wide"), licensed_box)


@pytest.fixture(autouse=True)
def stand_in(request: pytest.FixtureRequest) -> Iterator[None]:
    """Puts the stand-in of a test's model in place for as long as the test takes, and out of the way of all others."""
    names = {"tiny", "wide"} & set(request.fixturenames)
    cases = [request.getfixturevalue(name).case for name in sorted(names)]
    with cases[0].stand_in() if cases else contextlib.nullcontext():
        yield
