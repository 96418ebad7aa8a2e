"""A watch on what loading a model does beside giving the model."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["memory_only"]


@pytest.fixture
def memory_only(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing goes to the network, and no temporary file and no memory file stays behind."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a connection")

    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert [path.name for path in folder.iterdir() if path.name.startswith("weightlock")] == []
    links = [Path("/proc/self/fd") / number for number in os.listdir("/proc/self/fd")]
    assert [link for link in links if link.is_symlink() and "memfd:weightlock" in os.readlink(link)] == []
