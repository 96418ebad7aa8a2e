"""What the tests of the Hugging Face cryptor share: a small BERT, and what it must give."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cryptors import CryptorFactory
from tests.contract.cases_huggingface import bert_inputs, make_bert
from tests.contract.networks import TINY
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.refusals import assert_refused

__all__ = [
    "HUGGINGFACE", "WORDS", "assert_refused", "bert", "change_json", "contents", "load", "load_container", "lock",
    "state",
]  # fmt: skip

HUGGINGFACE = CryptorFactory.instance("huggingface")
WORDS = bert_inputs(TINY)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A directory that a test may change."""
    make_bert(TINY).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


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
