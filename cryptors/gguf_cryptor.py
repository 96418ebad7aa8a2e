"""GGUF: one file, or a model that llama.cpp split into several."""

import inspect
import os
from pathlib import Path
from typing import Any

from cryptors.base import Cryptor
from cryptors.detect import check_type
from cryptors.errors import ModelRejectedError, ModelSourceError, ModelTypeError
from cryptors.frameworks import import_framework
from cryptors.gguf_parts import first_parts, parts_of
from cryptors.memory import PlaintextFile
from cryptors.memory_folder import PlaintextFolder
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel
from cryptors.source import ModelSource, scan_source
from licensing.errors import UsageError

__all__ = ["GgufCryptor"]


class GgufCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_GGUF`."""

    model_type = ModelType.MODEL_GGUF
    extra = "gguf"

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        raise ModelTypeError(
            "a language model in GGUF does not run on arrays", "load it in Python: load() gives a llama_cpp.Llama"
        )

    def _decrypt(self, model: LockedModel, verbose: bool = False, **options: Any) -> Any:
        """Returns a `llama_cpp.Llama`, which runs on the decrypted file where it is: there is no second copy.

        Args:
            model: the open locked model.
            verbose: whether llama.cpp writes to standard error what it does.
            **options: as in `llama_cpp.Llama`, such as `n_ctx`, `n_gpu_layers` or `embedding`. Files that they name,
                such as `lora_path`, are the caller's own.
        """
        llama_cpp = _import_llama_cpp(options)
        # llama.cpp finds the other files of a split model beside the first, by their names.
        first = model.file().path
        with PlaintextFolder(model, {path: path for path in parts_of(first)}) as folder:
            return _load(llama_cpp, folder.path / first, model.header.name, verbose, options)

    def _decrypt_bytes(self, data: bytes, verbose: bool = False, **options: Any) -> Any:
        llama_cpp = _import_llama_cpp(options)
        with PlaintextFile(len(data)) as memory:
            memory.view[:] = data
            memory.seal()
            return _load(llama_cpp, Path(memory.path), "model", verbose, options)

    def _source(self, model: Path) -> ModelSource:
        """Returns the model's files: of a split model all, whichever of them was named."""
        files = scan_source(model)
        if not os.path.isdir(model):
            check_type(model, self.model_type)
            parts = parts_of(model.name)
            if len(parts) == 1:
                return ModelSource(files, directory=False)
            beside = {name: model.parent / name for name in parts}
            return _split_source(parts, {name: path for name, path in beside.items() if path.exists()})
        firsts = first_parts(files)
        if len(firsts) > 1:
            raise ModelSourceError(
                f"the directory {str(model)!r} holds {len(firsts)} GGUF models",
                "name the .gguf file instead; of a split model, its first",
            )
        check_type(model, self.model_type)  # So there is one.
        return _split_source(parts_of(firsts[0]), files)


def _split_source(parts: list[str], files: dict[str, Path]) -> ModelSource:
    if missing := [path for path in parts if path not in files]:
        raise ModelSourceError(f"the model lacks its part {missing[0]!r}")
    return ModelSource(files, directory=True, entry=parts[0])


def _import_llama_cpp(options: dict[str, Any]) -> Any:
    """Returns llama.cpp's module; refuses options that it does not have, which it would ignore."""
    llama_cpp = import_framework("llama_cpp", "gguf")
    known = inspect.signature(llama_cpp.Llama.__init__).parameters.keys() - {"self", "model_path", "kwargs"}
    if unknown := sorted(options.keys() - known):
        raise UsageError(f"the cryptor for 'gguf' does not take the option {unknown[0]!r}")
    return llama_cpp


def _load(llama_cpp: Any, path: Path, name: str, verbose: bool, options: dict[str, Any]) -> Any:
    try:
        llama = llama_cpp.Llama(model_path=str(path), verbose=verbose, **options)
    except (ValueError, RuntimeError) as cause:
        hints = () if verbose else ("load it with verbose=True: then llama.cpp says why",)
        raise ModelRejectedError("llama.cpp did not accept the decrypted model", *hints) from cause
    llama.model_path = name  # It appears in the answers that the model gives.
    return llama
