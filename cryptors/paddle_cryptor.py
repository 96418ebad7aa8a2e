"""Paddle: an inference program with its parameters, or a state dict."""

import io
import os
import pickle
import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptors.base import Cryptor
from cryptors.detect import check_type, detect_type
from cryptors.errors import ModelMalformedError, ModelSourceError, ModelTypeError
from cryptors.file_formats import BEGINNING_BYTES, is_paddle_json
from cryptors.memory_folder import PlaintextFolder
from cryptors.model_type import ModelType
from cryptors.paddle_inference import (
    gpu_of,
    import_paddle,
    load_layer,
    make_predictor,
    model_signature,
    new_config,
    run_model,
)
from cryptors.paddle_parameters import check_parameters
from cryptors.paddle_program import program_parameters
from cryptors.paddle_state_dict import fill_layer, is_pickle, load_state_dict
from cryptors.reader import LockedModel
from cryptors.signature import Signature
from cryptors.source import ModelSource, scan_source
from licensing.errors import UsageError
from licensing.files import open_input

__all__ = ["PaddleCryptor", "program_folder"]

PROGRAM_ENDINGS, PARAMETERS_ENDING = (".json", ".pdmodel"), ".pdiparams"
STATE_DICT_ENDINGS = (".pdparams", ".pdopt")
BUFFER_BYTES = 64 * 1024


class PaddleCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_PADDLE`."""

    model_type = ModelType.MODEL_PADDLE
    extra = "paddle"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        return run_model(loaded, inputs, device)

    def signature(self, loaded: Any) -> Signature:
        return model_signature(loaded)

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        gpu_of(import_paddle(), device)
        return {"device": device, "weights_only": not allow_pickle, "architecture": architecture}

    def _decrypt(
        self,
        model: LockedModel,
        api: str = "inference",
        device: str = "cpu",
        configure: Callable[[Any], object] | None = None,
        weights_only: bool = True,
        architecture: str | None = None,
        return_numpy: bool = False,
    ) -> Any:
        """Returns a `paddle.inference` predictor or a layer for a program, and what `paddle.load` gives for others.

        Args:
            model: the open locked model.
            api: "inference", or "jit" for the layer that `paddle.jit.load` returns.
            device: "cpu" or "cuda:N".
            configure: is called with the `paddle.inference.Config` before the predictor is made, to set what else it
                has. It must not make Paddle write files, such as TensorRT's with `use_static`.
            weights_only: False allows state dicts to be pickles that can run code: only for a vendor whom the caller
                trusts like the author of a program.
            architecture: "FILE.py:NAME" or "package.module:NAME", a callable that returns the `paddle.nn.Layer` into
                which a state dict is loaded; the layer is returned.
            return_numpy: as in `paddle.load`.
        """
        paddle = import_paddle()
        gpu = gpu_of(paddle, device)
        if is_pickle(model.file()):
            return self._state_dict(lambda: _buffered(model), paddle, gpu, weights_only, architecture, return_numpy)
        if architecture is not None:
            raise UsageError("a Paddle program brings its architecture with it", "leave the architecture out")
        if api not in ("inference", "jit"):
            raise UsageError(f"the interface to Paddle is 'inference' or 'jit', not {api!r}")
        with program_folder(model) as program:
            if api == "jit":
                return load_layer(paddle, program.with_suffix(""), gpu)
            config = new_config(paddle, program, program.with_suffix(PARAMETERS_ENDING), gpu)
            if configure is not None:
                configure(config)
            return make_predictor(paddle, config)

    def _decrypt_bytes(
        self,
        data: bytes,
        device: str = "cpu",
        weights_only: bool = True,
        architecture: str | None = None,
        return_numpy: bool = False,
    ) -> Any:
        """Returns what `paddle.load` gives, or the bytes of a program or of parameters, which are half a model each."""
        if not is_pickle(io.BytesIO(data)):
            return data
        paddle = import_paddle()
        gpu = gpu_of(paddle, device)
        return self._state_dict(lambda: io.BytesIO(data), paddle, gpu, weights_only, architecture, return_numpy)

    def _load_bytes(self, data: bytes, **framework_options: Any) -> Any:
        if not is_pickle(io.BytesIO(data)):
            raise ModelTypeError(
                "a Paddle program and its parameters are two files, and this is only one of them",
                "decrypt() gives its bytes; encrypt the program again, with its parameters beside it",
            )
        return self._decrypt_bytes(data, **framework_options)

    def _source(self, model: Path) -> ModelSource:
        """Returns the model's files: a program with its parameters, wherever it was started from, or a state dict."""
        files = scan_source(model)
        if os.path.isdir(model):
            entry = self._single_program(model, files)
            parameters = files.get(_parameters_of(entry))
            check_parameters(files[entry], parameters)
            return ModelSource(files, directory=True, entry=entry)
        if self._is_state_dict(model):
            return ModelSource(files, directory=False)
        beside = model.with_suffix(PARAMETERS_ENDING)
        check_parameters(model, beside if beside.exists() else None)
        if not beside.exists():
            return ModelSource(files, directory=False)
        return ModelSource({**files, beside.name: beside}, directory=True, entry=model.name)

    def _is_state_dict(self, model: Path) -> bool:
        """Returns whether a file is a state dict; refuses one that is cut short, and what is no Paddle model."""
        with open_input(model, "model") as file:
            pickled = is_pickle(file)
            whole = pickled and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) == pickle.STOP
        # Those of programs in static mode have nothing but their names to tell them from other pickles.
        if not pickled or model.suffix not in STATE_DICT_ENDINGS or detect_type(model) is not None:
            check_type(model, self.model_type)
        if pickled and not whole:
            raise ModelSourceError(f"the state dict {str(model)!r} is cut short")
        return pickled

    def _single_program(self, model: Path, files: dict[str, Path]) -> str:
        programs = [
            path
            for path, file in files.items()
            if path.endswith(PROGRAM_ENDINGS) and os.path.getsize(file) and detect_type(file) is ModelType.MODEL_PADDLE
        ]
        if not programs:
            check_type(model, self.model_type)
        if len(programs) != 1:
            raise ModelSourceError(
                f"the directory {str(model)!r} holds {len(programs)} Paddle programs",
                "name the program file instead: its parameters are found from there",
            )
        return programs[0]

    def _state_dict(
        self,
        open_file: Callable[[], Any],
        paddle: Any,
        gpu: int | None,
        weights_only: bool,
        architecture: str | None,
        return_numpy: bool,
    ) -> Any:
        state_dict = load_state_dict(paddle, open_file, gpu, weights_only, return_numpy)
        return state_dict if architecture is None else fill_layer(architecture, state_dict, paddle, gpu)


@contextmanager
def program_folder(model: LockedModel) -> Iterator[Path]:
    """Gives the path of a program in memory, with its parameters beside it, for as long as the context lasts.

    Paddle reads both whole while it makes a predictor or layer, and then needs them only to clone the predictor of a
    program of Paddle 3, which fails: load the model once more instead. Paddle also takes programs as buffers, but with
    ten times the model's memory, and the programs of Paddle 3 crash the process there.

    Args:
        model: the open locked model.

    Raises:
        ModelMalformedError: the model has no parameters, and its program wants some.
    """
    entry = model.file()
    ending = ".json" if is_paddle_json(entry.read(BEGINNING_BYTES)) else ".pdmodel"
    names = {entry.path: f"m{ending}"}  # Neutral names: the file system sees them.
    parameters = _parameters_of(entry.path)
    sizes = {file.path: file.size for file in model.index.files}
    if sizes.get(parameters):
        names[parameters] = f"m{PARAMETERS_ENDING}"
    elif program_parameters(entry.read_all()):
        # Paddle would compute with whatever its memory held.
        raise ModelMalformedError("the locked model lacks the parameters of its program")
    with PlaintextFolder(model, names) as folder:
        yield folder.path / names[entry.path]


def _parameters_of(program: str) -> str:
    return posixpath.splitext(program)[0] + PARAMETERS_ENDING


def _buffered(model: LockedModel) -> io.BufferedReader:
    return io.BufferedReader(model.file(), BUFFER_BYTES)
