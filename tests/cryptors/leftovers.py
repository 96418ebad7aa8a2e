"""A watch on what loading a model does beside giving the model."""

import contextlib
import gc
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["memory_files", "memory_only", "own_garbage"]


@pytest.fixture
def memory_only(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing goes to the network, and no temporary file and no memory file stays behind."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a connection")

    before = memory_files()
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with own_garbage():
        yield
        gc.collect()  # The traceback of a failed reading holds the memory, which is zero by then.
    assert [path.name for path in folder.iterdir() if path.name.startswith("weightlock")] == []
    assert memory_files() - before == set()


@contextlib.contextmanager
def own_garbage() -> Iterator[None]:
    """Lets `gc.collect` look at objects of this context alone: at all those of the frameworks it looks for a second."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def memory_files() -> set[int]:
    """Returns the numbers of the memory files of ours that this process has open or mapped; other tests may hold some.

    What a framework has mapped may outlive the descriptor.
    """
    lines = Path("/proc/self/maps").read_text().splitlines()
    found = {int(line.split()[4]) for line in lines if "/memfd:weightlock" in line}
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # The folder itself was open while it was read.
            if "memfd:weightlock" in os.readlink(link):
                found.add(os.stat(link).st_ino)
    return found
