"""A watch on what loading a model does beside giving the model."""

import contextlib
import gc
import os
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

__all__ = ["memory_only", "open_memory_files"]


@pytest.fixture
def memory_only(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing goes to the network, and no temporary file and no memory file stays behind."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a connection")

    before = open_memory_files()
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    gc.collect()  # The traceback of a failed reading holds the memory, which is zero by then.
    assert [path.name for path in folder.iterdir() if path.name.startswith("weightlock")] == []
    assert open_memory_files() - before == set()


def open_memory_files() -> set[int]:
    """Returns the numbers of the memory files of ours that this process has open; other tests may hold some."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        link = f"/proc/self/fd/{name}"
        with contextlib.suppress(FileNotFoundError):  # The folder itself was open while it was read.
            if "memfd:weightlock" in os.readlink(link):
                found.add(os.stat(link).st_ino)
    return found
