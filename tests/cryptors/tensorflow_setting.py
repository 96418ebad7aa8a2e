"""What the tests of TensorFlow's cryptors share. TensorFlow takes seconds to import: only tests that run do so."""

import contextlib
import gc
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptors import CryptorFactory
from cryptors.tensorflow_inference import import_tensorflow
from licensing.errors import WeightlockError
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.cryptors.leftovers import memory_files, own_garbage

__all__ = [
    "TENSORFLOW",
    "VOCABULARY",
    "X",
    "assert_refused",
    "files_of",
    "leaving_nothing",
    "lock",
    "lock_files",
    "saved_model_outputs",
    "write_saved_model",
]

TENSORFLOW = CryptorFactory.instance("tensorflow")
X: Any = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)
VOCABULARY = ["alpha", "beta", "gamma"]


def assert_refused(reason: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> WeightlockError:
    """Asserts that a call is refused for this reason, without a path of this machine, and returns the error."""
    with pytest.raises(WeightlockError) as caught:
        call(*arguments, **options)
    assert caught.value.reason == reason, caught.value
    assert tempfile.gettempdir() not in caught.value.message
    return caught.value


@contextlib.contextmanager
def leaving_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Asserts that there is no memory file, no temporary file and nothing in TensorFlow's memory afterwards."""
    temporary, before = folder / "temporary", memory_files()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with own_garbage():
        yield
        gc.collect()
    assert memory_files() <= before
    # TensorFlow itself writes the code of Python functions there, when it makes graphs of them, and Python compiles it.
    known = ("__autograph", "__pycache__")
    assert [path for path in temporary.iterdir() if not path.name.startswith(known)] == []
    assert import_tensorflow().io.gfile.glob("ram://*") == []


def write_saved_model(path: Path) -> Path:
    """Writes a SavedModel with a matrix, a table whose words are an asset, and two signatures."""
    tensorflow = import_tensorflow()
    vocabulary = path.parent / "vocabulary.txt"
    vocabulary.write_text("\n".join(VOCABULARY))
    model = tensorflow.Module()
    model.weights = tensorflow.Variable(np.arange(12, dtype=np.float32).reshape(4, 3))
    whole, number = tensorflow.lookup.TextFileIndex.WHOLE_LINE, tensorflow.lookup.TextFileIndex.LINE_NUMBER
    words = tensorflow.lookup.TextFileInitializer(str(vocabulary), tensorflow.string, whole, tensorflow.int64, number)
    model.table = tensorflow.lookup.StaticVocabularyTable(words, 1)
    model.multiply = tensorflow.function(
        lambda x: {"y": tensorflow.nn.relu(x @ model.weights)}, [tensorflow.TensorSpec([None, 4], name="x")]
    )
    model.look_up = tensorflow.function(
        lambda words: {"ids": model.table.lookup(words), "upper": tensorflow.strings.upper(words)},
        [tensorflow.TensorSpec([None], tensorflow.string, name="words")],
    )
    signatures = {"serving_default": model.multiply, "words": model.look_up}
    tensorflow.saved_model.save(model, str(path), signatures)
    vocabulary.unlink()
    return path


def saved_model_outputs(loaded: Any) -> dict[str, Any]:
    """Returns what both signatures give."""
    tensorflow = import_tensorflow()
    y = loaded.signatures["serving_default"](x=tensorflow.constant(X))
    ids = loaded.signatures["words"](words=tensorflow.constant(["gamma", "alpha", "omega"]))
    return {name: tensor.numpy().tolist() for name, tensor in {**y, **ids}.items()}


def lock(model: Path) -> Path:
    """Locks a model and returns the locked one, which lies beside it."""
    locked = model.parent / f"{model.name}.locked"
    locked.unlink(missing_ok=True)
    TENSORFLOW.encrypt(model, CONTENT_KEY, locked)
    return locked


def files_of(model: Path) -> dict[str, bytes]:
    """Returns the content of a model directory by path."""
    return {path.relative_to(model).as_posix(): path.read_bytes() for path in model.rglob("*") if path.is_file()}


def lock_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Locks files that no cryptor would lock."""
    return write_container(folder / "broken.locked", files, model_type="tensorflow")
