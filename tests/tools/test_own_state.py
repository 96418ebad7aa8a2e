"""Homes that are thrown away leave nothing in the user's state directory."""

import os
from pathlib import Path

import pytest

from licensing.homes import state_directory
from tools.own_state import own_state


@pytest.mark.parametrize("before", [None, "/somewhere"])
def test_twins_go_elsewhere_meanwhile(before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if before is None:
        monkeypatch.delenv("WEIGHTLOCK_STATE")
    else:
        monkeypatch.setenv("WEIGHTLOCK_STATE", before)
    with own_state(tmp_path):
        assert state_directory() == tmp_path / "state"
    assert os.environ.get("WEIGHTLOCK_STATE") == before
