"""Keras files: `.keras` archives and whole models in HDF5 (`.h5`), read from a file object and not from a path.

Keras itself reads its files by path. Its functions below the public ones take open files; they are used here because

- HDF5 refuses a path that leads to a memory file, which has no name that it could resolve;
- for `.keras`, the public function reads all weights into memory before the first is assigned, or unpacks them into a
  directory beside the file, and it unpacks the whole archive into the temporary directory where a layer has assets.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from cryptors.errors import FrameworkUnsuitableError, ModelRejectedError, UnsafePickleError
from cryptors.frameworks import import_framework
from cryptors.keras_archive import WEIGHTS, KerasArchive
from cryptors.tensorflow_inference import import_tensorflow
from licensing.errors import WeightlockError

__all__ = ["CONFIG_ATTRIBUTE", "HDF5_BEGINNING", "NO_MODEL", "import_keras", "load_keras"]

ZIP_BEGINNING = b"PK\x03\x04"
HDF5_BEGINNING = b"\x89HDF\r\n\x1a\n"
CONFIG_ATTRIBUTE = "model_config"
"""Where an HDF5 file says how the model is built, without which its weights are no model."""
NO_MODEL = ("the HDF5 file holds weights, but no Keras model", "save the whole model: model.save('model.keras')")

OLDEST_KERAS = (3, 11, 3)
"""The first whose reading of HDF5 files honours `safe_mode`."""


def import_keras() -> Any:
    """Returns Keras.

    Raises:
        FrameworkMissingError: it, or TensorFlow, is not installed.
        FrameworkUnsuitableError: it is too old.
    """
    import_tensorflow()
    keras = import_framework("keras", "tensorflow")
    if tuple(int(number) for number in re.findall(r"\d+", keras.__version__)[:3]) < OLDEST_KERAS:
        raise FrameworkUnsuitableError(
            f"this Keras ({keras.__version__}) is too old to read locked models", "pip install 'keras>=3.11.3'"
        )
    return keras


def load_keras(file: Any, custom_objects: dict[str, Any] | None, compile: bool, safe_mode: bool) -> Any:
    """Returns the Keras model of a file; arguments as in `keras.saving.load_model`.

    Args:
        file: the plaintext, seekable and readable; it stays open.
        custom_objects: classes and functions of the caller, by the names under which the model knows them.
        compile: whether to make the model ready to be trained, as it was when it was saved.
        safe_mode: False allows Python code inside the model.

    Raises:
        UnsafePickleError: there is Python code in it, and it is not allowed.
        ModelRejectedError: it is no Keras model, or Keras does not accept it.
    """
    import_keras()
    beginning = file.read(len(HDF5_BEGINNING))
    file.seek(0)
    with _keras_errors():
        if beginning.startswith(ZIP_BEGINNING):
            return _load_archive(file, custom_objects, compile, safe_mode)
        if beginning == HDF5_BEGINNING:
            return _load_hdf5(file, custom_objects, compile, safe_mode)
    raise ModelRejectedError("the model is neither a Keras archive nor an HDF5 file")


def _load_archive(file: Any, custom_objects: dict[str, Any] | None, compile: bool, safe_mode: bool) -> Any:
    """Does what Keras does with an archive, with other eyes on its members; weights are decrypted one after another."""
    saving = import_framework("keras.src.saving.saving_lib", "tensorflow")
    with KerasArchive(file) as archive:
        model = saving._model_from_config(archive.config, custom_objects, compile, safe_mode)
        folder = archive.asset_folder()
        failed: set[int] = set()
        errors: dict[int, Any] = {}
        weights = saving.H5IOStore(WEIGHTS, archive, mode="r")
        try:
            saving._load_state(
                model,
                weights_store=weights,
                assets_store=saving.DiskIOStore(folder, mode="r") if folder else None,
                inner_path="",
                visited_saveables=set(),
                failed_saveables=failed,
                error_msgs=errors,
            )
        finally:
            weights.close()
        if failed:
            saving._raise_loading_failure(errors)
        return model


def _load_hdf5(file: Any, custom_objects: dict[str, Any] | None, compile: bool, safe_mode: bool) -> Any:
    legacy = import_framework("keras.src.legacy.saving.legacy_h5_format", "tensorflow")
    with import_framework("h5py", "tensorflow").File(file, "r") as opened:
        if CONFIG_ATTRIBUTE not in opened.attrs:
            raise ModelRejectedError(*NO_MODEL)
        return legacy.load_model_from_hdf5(opened, custom_objects, compile, safe_mode)


@contextlib.contextmanager
def _keras_errors() -> Iterator[None]:
    """Converts the errors of Keras that callers can do something about."""
    try:
        yield
    except (WeightlockError, MemoryError):
        raise
    except Exception as cause:
        if "safe_mode=False" in str(cause):  # So each version of Keras says how to go on.
            raise UnsafePickleError(
                "the model has Python code inside, such as a Lambda layer, which could do anything",
                "if you trust its vendor as you trust a program's author: safe_mode=False, or --allow-pickle",
            ) from cause
        if unknown := re.search(
            r"Could not locate (?:class|function) '([^']{1,100})'|Unknown \w+: '([^']{1,100})'", str(cause)
        ):
            raise ModelRejectedError(
                f"the model needs {unknown[1] or unknown[2]!r}, which Keras does not know here",
                "import the module that registers it, or pass it in custom_objects",
            ) from cause
        raise
