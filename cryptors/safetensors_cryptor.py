"""Safetensors: one file, or a sharded directory with its index."""

from pathlib import Path
from typing import Any

from cryptors.base import Cryptor
from cryptors.errors import ModelMalformedError, ModelTypeError
from cryptors.frameworks import import_framework
from cryptors.memory import PlaintextFile
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel, ModelFile
from cryptors.signature import Signature
from cryptors.source import ModelSource
from cryptors.torch_cryptor import fill_architecture
from cryptors.torch_inference import check_device, module_signature, run_module
from cryptors.weight_shards import check_shards, read_shards
from licensing.errors import UsageError

__all__ = ["SafetensorsCryptor"]

INDEX_ENDING = ".safetensors.index.json"
_MODULES = {"pt": ("safetensors.torch", "torch"), "np": ("safetensors.numpy", "numpy")}


class SafetensorsCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_SAFETENSORS`."""

    model_type = ModelType.MODEL_SAFETENSORS
    extra = "safetensors"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        if isinstance(loaded, dict):
            raise ModelTypeError(
                "a set of tensors cannot run by itself",
                "name the code that builds the module with --architecture FILE.py:NAME",
            )
        return run_module(loaded, inputs, device)

    def signature(self, loaded: Any) -> Signature:
        return module_signature(loaded)

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        if allow_pickle:
            return super().run_options(device, None, allow_pickle)
        check_device(device)
        if architecture is None:
            raise ModelTypeError(
                "a set of tensors cannot run by itself",
                "name the code that builds the module with --architecture FILE.py:NAME",
            )
        return {"device": device, "architecture": architecture}

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
        shards, expected = _shards(model)
        for path in shards:
            shard = _load_shard(model.file(path), load_file)
            if both := tensors.keys() & shard.keys():
                raise ModelMalformedError(f"two shards of the model hold the tensor {min(both)[:200]!r}")
            tensors.update(shard)
        if missing := expected - tensors.keys():
            raise ModelMalformedError(f"the model lacks the tensor {min(missing)[:200]!r} that its index names")
        return tensors if architecture is None else fill_architecture(architecture, tensors)

    def _source(self, model: Path) -> ModelSource:
        """Returns the model's files; refuses a directory without tensors, or without a shard which its index names."""
        source = super()._source(model)
        if source.index.directory and not any(file.path.endswith(".safetensors") for file in source.index.files):
            raise ModelTypeError(f"the directory {str(model)!r} holds no .safetensors file")
        check_shards(model, source, (INDEX_ENDING,))
        return source

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


def _shards(model: LockedModel) -> tuple[list[str], set[str]]:
    """Returns the files to load, and the tensors that must come out of them.

    Where there is an index, it names both: model directories can hold the same tensors once more in one file.
    """
    paths = [file.path for file in model.index.files]
    indexes = [path for path in paths if path.endswith(INDEX_ENDING)]
    if not indexes:
        return [path for path in paths if path.endswith(".safetensors") or not model.index.directory], set()
    shards: set[str] = set()
    tensors: set[str] = set()
    for path in indexes:
        weight_map = read_shards(model, path)
        shards.update(weight_map.values())
        tensors.update(weight_map)
    return sorted(shards), tensors
