"""What the tests of the Hugging Face cryptor share: a small BERT, and a watch on what it leaves behind."""

import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cryptors import CryptorFactory
from licensing.errors import WeightlockError
from tests.contract.cases_huggingface import bert_inputs, make_bert
from tests.contract.networks import TINY
from tests.cryptors.containers import CONTENT_KEY, write_container

__all__ = [
    "HUGGINGFACE", "WORDS", "assert_refused", "bert", "change_json", "contents", "load", "load_container", "lock",
    "memory_only", "state",
]  # fmt: skip

HUGGINGFACE = CryptorFactory.instance("huggingface")
WORDS = bert_inputs(TINY)


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


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A directory that a test may change."""
    make_bert(TINY).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def assert_refused(reason: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> WeightlockError:
    with pytest.raises(WeightlockError) as caught:
        call(*arguments, **options)
    assert caught.value.reason == reason, caught.value
    return caught.value


def lock(model: Path) -> Path:
    locked = model.parent / f"{model.name}.locked"
    HUGGINGFACE.encrypt(model, CONTENT_KEY, locked)
    return locked


def load(model: Path, **options: Any) -> Any:
    return HUGGINGFACE.load(lock(model), CONTENT_KEY, **options)


def load_container(files: dict[str, bytes], folder: Path) -> Any:
    """Loads a locked model of these files, which no vendor could have made with `encrypt`."""
    return HUGGINGFACE.load(write_container(folder / "x.locked", files, model_type="huggingface"), CONTENT_KEY)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def state(loaded: Any) -> Any:
    with torch.inference_mode():
        return loaded(**{name: torch.from_numpy(array) for name, array in WORDS.items()}).last_hidden_state


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
