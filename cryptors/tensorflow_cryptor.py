"""TensorFlow: SavedModels, and the files of Keras (`.keras`, `.h5`)."""

import io
import mmap
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptors.base import Cryptor
from cryptors.errors import ModelRejectedError, ModelSourceError, ModelTypeError
from cryptors.keras_archive import is_damaged
from cryptors.keras_file import CONFIG_ATTRIBUTE, HDF5_BEGINNING, NO_MODEL, load_keras
from cryptors.keras_inference import keras_signature, run_keras
from cryptors.memory_folder import PlaintextFolder
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel
from cryptors.signature import Signature
from cryptors.source import ModelSource
from cryptors.tensorflow_inference import (
    import_tensorflow,
    let_go,
    on_device,
    reason_of,
    run_saved_model,
    saved_model_signature,
)
from licensing.files import unreadable

__all__ = ["TensorFlowCryptor", "check_variables", "load_saved_model"]

VARIABLES_INDEX = "variables/variables.index"


class TensorFlowCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_TENSORFLOW`."""

    model_type = ModelType.MODEL_TENSORFLOW
    extra = "tensorflow"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        return (run_saved_model if hasattr(loaded, "signatures") else run_keras)(loaded, inputs, device)

    def signature(self, loaded: Any) -> Signature:
        return (saved_model_signature if hasattr(loaded, "signatures") else keras_signature)(loaded)

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        options = super().run_options(device, architecture, allow_pickle=False)
        on_device(device)
        # What a model needs to be trained is not needed to run it.
        return {**options, "compile": False, "safe_mode": not allow_pickle}

    def _decrypt(
        self,
        model: LockedModel,
        device: str | None = None,
        tags: Sequence[str] | str | None = None,
        custom_objects: dict[str, Any] | None = None,
        compile: bool = True,
        safe_mode: bool = True,
    ) -> Any:
        """Returns what `tf.saved_model.load` returns; of a Keras file, what `keras.saving.load_model` returns.

        Args:
            model: the open locked model.
            device: "cpu" or "cuda:N"; by default, TensorFlow chooses.
            tags: of a SavedModel, as in `tf.saved_model.load`.
            custom_objects, compile, safe_mode: of a Keras file, as in `keras.saving.load_model`. `safe_mode=False`
                allows Python code inside the model: only for a vendor whom the caller trusts like the author of a
                program.
        """
        with on_device(device):
            if not model.index.directory:
                return load_keras(model.file(), custom_objects, compile, safe_mode)
            return load_saved_model(model, tags)

    def _decrypt_bytes(
        self,
        data: bytes,
        device: str | None = None,
        custom_objects: dict[str, Any] | None = None,
        compile: bool = True,
        safe_mode: bool = True,
    ) -> Any:
        with on_device(device):
            return load_keras(io.BytesIO(data), custom_objects, compile, safe_mode)

    def _source(self, model: Path) -> ModelSource:
        """Returns the model's files; refuses what lacks a part of a model, which its own framework finds only later."""
        source = super()._source(model)
        if source.index.directory:
            check_variables(source)
        else:
            _check_keras_file(model)
        return source


def load_saved_model(model: LockedModel, tags: Sequence[str] | str | None) -> Any:
    """Loads a SavedModel from links to memory files, which are gone when it is loaded.

    TensorFlow's own memory file system, `ram://`, does the same with about the same peak, twice the model: its content
    and the variables. But its files grow by appending, through a copy of every byte, and loading took twice as long.
    TensorFlow offers no way to hand it content by anything but a path.
    """
    tensorflow = import_tensorflow()
    with PlaintextFolder(model) as folder:
        try:
            return tensorflow.saved_model.load(str(folder.path), tags)
        except MemoryError:
            raise
        except Exception as cause:
            let_go(cause)
            if operation := re.search(r"Op type not registered '([^']{1,100})'", str(cause)):
                raise ModelRejectedError(
                    f"the model needs the operation {operation[1]!r}, which this TensorFlow does not have",
                    "load the library that brings it first: tf.load_op_library(…), or import the package that does",
                    "a newer TensorFlow may have it",
                ) from cause
            reason = reason_of(cause).replace(f"{folder.path}/", "")
            raise ModelRejectedError(f"TensorFlow could not load the model: {reason}") from cause


def check_variables(source: ModelSource) -> None:
    """Refuses a SavedModel that lacks a file of its variables. The files' names say how many there are."""
    paths = {file.path for file in source.index.files}
    shards = [name for name in paths if re.fullmatch(r"variables/variables\.data-\d{5}-of-\d{5}", name)]
    if not shards and VARIABLES_INDEX not in paths:
        return  # It has no variables.
    total = int(shards[0][-5:]) if shards else 1
    expected = {f"variables/variables.data-{number:05}-of-{total:05}" for number in range(total)}
    if missing := ({VARIABLES_INDEX} | expected) - paths:
        raise ModelSourceError(f"the model lacks {min(missing)!r}, which belongs to its variables")


def _check_keras_file(model: Path) -> None:
    """Refuses an HDF5 file that holds weights alone, and an archive that was damaged.

    The first has no attribute of the name that Keras gives to a model's configuration. In the second, Keras compares
    checksums when it loads; a locked model's members are read in parts, to which no checksum belongs.
    """
    try:
        with open(model, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            is_hdf5 = data[: len(HDF5_BEGINNING)] == HDF5_BEGINNING
            no_model = is_hdf5 and data.find(CONFIG_ATTRIBUTE.encode()) < 0
            damaged = not is_hdf5 and is_damaged(file)
    except (OSError, ValueError) as cause:
        raise unreadable(model, "model", cause) from cause
    if no_model:
        raise ModelTypeError(*NO_MODEL)
    if damaged:
        raise ModelSourceError("the Keras archive is damaged: a checksum in it is wrong")
