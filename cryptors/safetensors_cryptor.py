"""Safetensors: one file, or a sharded directory with its index."""

import json
from typing import Any

from cryptors.base import Cryptor
from cryptors.errors import ModelMalformedError, ModelTypeError
from cryptors.frameworks import import_framework
from cryptors.memory import PlaintextFile
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel, ModelFile
from cryptors.torch_cryptor import fill_architecture
from cryptors.torch_inference import run_module
from licensing.errors import UsageError

__all__ = ["SafetensorsCryptor"]

INDEX_ENDING = ".safetensors.index.json"
_MODULES = {"pt": ("safetensors.torch", "torch"), "np": ("safetensors.numpy", "numpy")}


class SafetensorsCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_SAFETENSORS`."""

    model_type = ModelType.MODEL_SAFETENSORS

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        if isinstance(loaded, dict):
            raise ModelTypeError(
                "a set of tensors cannot run by itself",
                "name the code that builds the module with --architecture FILE.py:NAME",
            )
        return run_module(loaded, inputs, device)

    def _decrypt(
        self, model: LockedModel, framework: str = "pt", device: str = "cpu", architecture: str | None = None
    ) -> Any:
        """Returns the tensors by name, of all shards.

        Args:
            model: the open locked model.
            framework: "pt" for PyTorch tensors, "np" for NumPy arrays.
            device: where PyTorch tensors go.
            architecture: "FILE.py:NAME" or "package.module:NAME", a callable that returns the PyTorch module into
                which the tensors are loaded; the module is returned.
        """
        load_file = _loader(framework, device)
        tensors: dict[str, Any] = {}
        for path in _shards(model):
            shard = _load_shard(model.file(path), load_file)
            if both := tensors.keys() & shard.keys():
                raise ModelMalformedError(f"two shards of the model hold the tensor {min(both)[:200]!r}")
            tensors.update(shard)
        _check_against_index(model, tensors)
        return tensors if architecture is None else fill_architecture(architecture, tensors)

    def _decrypt_bytes(
        self, data: bytes, framework: str = "pt", device: str = "cpu", architecture: str | None = None
    ) -> Any:
        load_file = _loader(framework, device)
        with PlaintextFile(len(data)) as memory:
            memory.view[:] = data
            memory.seal()
            tensors = load_file(memory.path)
        return tensors if architecture is None else fill_architecture(architecture, tensors)


def _loader(framework: str, device: str) -> Any:
    if framework not in _MODULES:
        raise UsageError(f"the framework for safetensors is 'pt' or 'np', not {framework!r}")
    import_framework("safetensors", "safetensors")
    module_name, backend = _MODULES[framework]
    import_framework(backend, "torch" if framework == "pt" else "safetensors")
    module = import_framework(module_name, "safetensors")
    if framework == "pt":
        return lambda path: module.load_file(path, device=device)
    return module.load_file


def _load_shard(file: ModelFile, load_file: Any) -> dict[str, Any]:
    """Decrypts a shard into a sealed memory file, which safetensors maps: one copy, and none on any file system."""
    with PlaintextFile(file.size) as memory:
        file.read_all_into(memory.view)
        memory.seal()
        tensors: dict[str, Any] = load_file(memory.path)
        return tensors


def _shards(model: LockedModel) -> list[str]:
    return [file.path for file in model.index.files if file.path.endswith(".safetensors") or not model.index.directory]


def _check_against_index(model: LockedModel, tensors: dict[str, Any]) -> None:
    """Refuses a directory whose index names tensors that are not there."""
    for file in model.index.files:
        if file.path.endswith(INDEX_ENDING):
            try:
                expected = set(json.loads(model.file(file.path).read_all())["weight_map"])
            except (ValueError, KeyError, TypeError) as cause:
                raise ModelMalformedError(f"the model's {file.path!r} is not an index of shards") from cause
            if missing := expected - tensors.keys():
                raise ModelMalformedError(f"the model lacks the tensor {min(missing)[:200]!r} that its index names")
