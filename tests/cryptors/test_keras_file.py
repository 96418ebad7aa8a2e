"""Keras files: assets, compressed archives, code inside a model, custom layers, and files that are something else."""

import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.fernet import Fernet

from cryptors.detect import detect_type
from cryptors.keras_file import import_keras
from cryptors.model_type import ModelType
from cryptors.source import ModelSource
from cryptors.writer import EncryptOptions, write_locked_model
from tests.cryptors.containers import CONTENT_KEY
from tests.cryptors.tensorflow_setting import (
    TENSORFLOW,
    VOCABULARY,
    X,
    assert_refused,
    leaving_nothing,
    lock,
    lock_files,
)

TEXTS = np.array(["alpha gamma", "omega beta"])


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with leaving_nothing(tmp_path, monkeypatch):
        yield


@pytest.fixture
def keras() -> Any:
    return import_keras()


def write_dense(path: Path) -> Path:
    """Writes a model of one layer that was compiled to be trained."""
    keras = import_keras()
    network = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="y")])
    network.compile("adam", "mean_squared_error")
    network.save(path)
    return path


def write_words(path: Path) -> Path:
    """Writes a model with a vocabulary, which an archive keeps as an asset."""
    keras = import_keras()
    words = keras.layers.TextVectorization(output_sequence_length=2)
    words.adapt(VOCABULARY)
    text = keras.Input((), dtype="string", name="text")
    keras.Model(text, keras.layers.Embedding(8, 2, name="y")(words(text))).save(path)
    return path


def write_lambda(path: Path) -> Path:
    keras = import_keras()
    x = keras.Input((4,), name="x")
    keras.Model(x, keras.layers.Lambda(lambda tensor: tensor * 2, name="y")(x)).save(path)
    return path


def rewritten(path: Path, change: Callable[[str, bytes], bytes | None], method: int = zipfile.ZIP_STORED) -> Path:
    """Writes an archive again, with the content of each member changed; those that become None are left out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)
    return path


def load(model: Path, **options: Any) -> Any:
    return TENSORFLOW.load(lock(model), CONTENT_KEY, **options)


# What loads.


@pytest.mark.parametrize("name", ["network.keras", "network.h5"])
def test_model_is_compiled_unless_the_caller_says_no(tmp_path: Path, name: str) -> None:
    model = write_dense(tmp_path / name)
    loaded = load(model)
    assert loaded.compiled
    assert loaded.optimizer.name.startswith("adam")
    assert not load(model, compile=False).compiled
    assert (
        loaded.predict(X, verbose=0).tobytes()
        == import_keras().saving.load_model(model).predict(X, verbose=0).tobytes()
    )


def test_archive_with_assets(tmp_path: Path) -> None:
    model = write_words(tmp_path / "words.keras")
    with zipfile.ZipFile(model) as archive:
        assert any(name.endswith("vocabulary.txt") for name in archive.namelist())
    expected = import_keras().saving.load_model(model)(TEXTS).numpy()
    locked = lock(model)
    model.unlink()
    loaded = TENSORFLOW.load(locked, CONTENT_KEY)
    assert TENSORFLOW.infer(loaded, {"text": TEXTS}, "cpu")["y"].tobytes() == expected.tobytes()
    assert loaded.layers[1].get_vocabulary()[2:] == sorted(VOCABULARY, reverse=True)


def test_layers_find_links_to_memory_and_no_files(tmp_path: Path, keras: Any) -> None:
    seen: list[tuple[str, str, bool]] = []

    class Noted(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

        def save_assets(self, folder: str) -> None:
            (Path(folder) / "deep").mkdir(parents=True)
            for name in ("note.txt", "empty", "deep/note.txt"):
                (Path(folder) / name).write_text("" if name == "empty" else "plaintext")

        def load_assets(self, folder: str) -> None:
            for path in (each for each in Path(folder).rglob("*") if not each.is_dir()):
                seen.append((path.name, path.read_text(), str(path.readlink()).startswith("/proc/self/fd/")))

    x = keras.Input((4,))
    keras.Model(x, keras.layers.Dense(2)(Noted()(x))).save(tmp_path / "network.keras")
    load(tmp_path / "network.keras", custom_objects={"Noted": Noted})
    assert sorted(seen) == [("empty", "", True), ("note.txt", "plaintext", True), ("note.txt", "plaintext", True)]


def test_archive_that_somebody_compressed(tmp_path: Path) -> None:
    model = write_words(tmp_path / "words.keras")
    expected = load(model)(TEXTS).numpy()
    rewritten(model, lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert detect_type(model) is ModelType.MODEL_TENSORFLOW
    assert load(model)(TEXTS).numpy().tobytes() == expected.tobytes()


def test_archives_loaded_at_once(tmp_path: Path) -> None:
    """Nothing of Keras is replaced for the time of a load."""
    locked = lock(write_words(tmp_path / "words.keras"))
    expected = TENSORFLOW.load(locked, CONTENT_KEY)(TEXTS).numpy()
    found: list[bytes] = []

    def work() -> None:
        found.extend(TENSORFLOW.load(locked, CONTENT_KEY)(TEXTS).numpy().tobytes() for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected.tobytes()] * 9


@pytest.mark.parametrize("name", ["network.keras", "network.h5"])
def test_file_of_the_old_toolkit(tmp_path: Path, name: str) -> None:
    model, key = write_dense(tmp_path / name), Fernet.generate_key()
    (tmp_path / "network.crt").write_bytes(Fernet(key).encrypt(model.read_bytes()))
    loaded = TENSORFLOW.decrypt(tmp_path / "network.crt", key, device="cpu", compile=False)
    assert loaded(X).numpy().tobytes() == load(model)(X).numpy().tobytes()
    (tmp_path / "other.crt").write_bytes(Fernet(key).encrypt(b"something else"))
    assert_refused("model_rejected", TENSORFLOW.decrypt, tmp_path / "other.crt", key)


# Code inside a model, and code that is not.


@pytest.mark.parametrize("name", ["network.keras", "network.h5"])
def test_code_in_a_model_needs_the_callers_word(tmp_path: Path, name: str) -> None:
    model = write_lambda(tmp_path / name)
    error = assert_refused("unsafe_pickle", load, model)
    assert "safe_mode=False" in error.hints[0]
    assert error.__cause__ is not None
    loaded = load(model, safe_mode=False)
    assert TENSORFLOW.infer(loaded, {"x": X}, "cpu")["y"].tobytes() == (X * 2).tobytes()


@pytest.mark.parametrize("name", ["network.keras", "network.h5"])
def test_custom_layer(tmp_path: Path, keras: Any, name: str) -> None:
    class Doubled(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

    keras.Sequential([keras.Input((4,), name="x"), Doubled(name="y")]).save(tmp_path / name)
    error = assert_refused("model_rejected", load, tmp_path / name)
    assert error.message == "the model needs 'Doubled', which Keras does not know here"
    assert "custom_objects" in error.hints[0]
    loaded = load(tmp_path / name, custom_objects={"Doubled": Doubled})
    assert TENSORFLOW.infer(loaded, {"x": X}, "cpu")["y"].tobytes() == (X * 2).tobytes()


# What is no model.


def test_weights_alone_are_no_model(tmp_path: Path, keras: Any) -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    network.save_weights(tmp_path / "network.weights.h5")
    error = assert_refused("model_type_mismatch", lock, tmp_path / "network.weights.h5")
    assert error.message == "the HDF5 file holds weights, but no Keras model"
    container = lock_one(tmp_path, (tmp_path / "network.weights.h5").read_bytes())
    error = assert_refused("model_rejected", TENSORFLOW.load, container, CONTENT_KEY)
    assert error.message == "the HDF5 file holds weights, but no Keras model"


def lock_one(folder: Path, data: bytes) -> Path:
    """Locks one file without a look at it, as a vendor's own program could."""
    (folder / "one").write_bytes(data)
    source, options = ModelSource({"one": folder / "one"}, directory=False), EncryptOptions(name="one", replace=True)
    write_locked_model(source, "tensorflow", CONTENT_KEY, folder / "one.locked", options)
    return folder / "one.locked"


def test_truncated_files(tmp_path: Path) -> None:
    archive, hdf5 = write_dense(tmp_path / "network.keras"), write_dense(tmp_path / "network.h5")
    for model in (archive, hdf5):
        data = model.read_bytes()
        error = assert_refused(
            "model_rejected", TENSORFLOW.load, lock_one(tmp_path, data[: len(data) // 2]), CONTENT_KEY
        )
        assert isinstance(error.__cause__, OSError | zipfile.BadZipFile)
    archive.write_bytes(archive.read_bytes()[:5000])
    assert_refused("model_type_mismatch", lock, archive)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archive_that_was_damaged_before(tmp_path: Path, compression: int) -> None:
    """Keras compares checksums on loading. Here the vendor learns of it, and no customer."""
    model = rewritten(write_dense(tmp_path / "network.keras"), lambda name, data: data, compression)
    data = bytearray(model.read_bytes())
    with zipfile.ZipFile(model) as archive:
        data[archive.getinfo("model.weights.h5").header_offset + 500] ^= 1
    model.write_bytes(data)
    error = assert_refused("model_source_invalid", lock, model)
    assert "checksum" in error.message


@pytest.mark.parametrize("missing", ["config.json", "model.weights.h5"])
def test_archive_without_a_part(tmp_path: Path, missing: str) -> None:
    model = rewritten(write_dense(tmp_path / "network.keras"), lambda name, data: None if name == missing else data)
    assert detect_type(model) is None
    error = assert_refused("model_rejected", TENSORFLOW.load, lock_one(tmp_path, model.read_bytes()), CONTENT_KEY)
    assert error.message == f"the Keras archive lacks {missing!r}"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_weights_that_are_no_hdf5(tmp_path: Path, compression: int) -> None:
    model = write_words(tmp_path / "words.keras")
    rewritten(model, lambda name, data: b"weights" * 99 if name == "model.weights.h5" else data, compression)
    error = assert_refused("model_rejected", load, model)
    assert isinstance(error.__cause__, OSError)


def test_weights_of_another_model(tmp_path: Path, keras: Any) -> None:
    """Keras collects what did not fit, and says so in the end."""
    model = write_dense(tmp_path / "network.keras")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)]).save(tmp_path / "other.keras")
    with zipfile.ZipFile(tmp_path / "other.keras") as archive:
        others = archive.read("model.weights.h5")
    rewritten(model, lambda name, data: others if name == "model.weights.h5" else data)
    error = assert_refused("model_rejected", load, model)
    assert "objects could not be loaded" in error.message


def test_name_that_leads_out_of_the_archive(tmp_path: Path) -> None:
    model = write_dense(tmp_path / "network.keras")
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("assets/../../../outside.txt", "plaintext")
    error = assert_refused("model_rejected", load, model)
    assert error.message == "a member of the Keras archive has a name that leads out of it"
    assert list(tmp_path.rglob("outside.txt")) == []


def test_two_files_are_neither(tmp_path: Path) -> None:
    """A directory is a SavedModel or nothing."""
    model = write_dense(tmp_path / "network.keras")
    (tmp_path / "folder").mkdir()
    shutil.copy(model, tmp_path / "folder")
    assert_refused("model_type_mismatch", lock, tmp_path / "folder")
    locked = lock_files(tmp_path, {"network.keras": model.read_bytes(), "config.json": b"{}"})
    assert_refused("model_rejected", TENSORFLOW.load, locked, CONTENT_KEY)


def test_keras_that_does_not_keep_code_out_of_hdf5_files(
    tmp_path: Path, keras: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = lock(write_lambda(tmp_path / "network.h5"))
    for version in ("3.11.2", "3.9.0", "2.15.0"):
        monkeypatch.setattr(keras, "__version__", version)
        error = assert_refused("framework_unsuitable", TENSORFLOW.load, locked, CONTENT_KEY)
        assert error.hints == ("pip install 'keras>=3.11.3'",)
    monkeypatch.setattr(keras, "__version__", "3.11.3")
    assert_refused("unsafe_pickle", TENSORFLOW.load, locked, CONTENT_KEY)
