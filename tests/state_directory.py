"""A state directory for the tests: none may write to that of the user who runs them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["state_directory"]


@pytest.fixture(scope="session", autouse=True)
def state_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Returns where twins of time states lie in this test run, in processes that tests start, too."""
    before = os.environ.get("WEIGHTLOCK_STATE")
    directory = tmp_path_factory.mktemp("state")
    os.environ["WEIGHTLOCK_STATE"] = str(directory)
    yield directory
    os.environ.pop("WEIGHTLOCK_STATE")
    if before is not None:
        os.environ["WEIGHTLOCK_STATE"] = before
