"""Safetensors: one file, or a sharded directory with its index."""

from pathlib import Path
from typing import Any

from cryptors.base import Cryptor
from cryptors.errors import ModelMalformedError, ModelTypeError
from cryptors.memory import PlaintextFile
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel
from cryptors.safetensors_lazy import lazy_tensors
from cryptors.safetensors_load import check_framework, load_file, load_path
from cryptors.signature import Signature
from cryptors.source import ModelSource
from cryptors.torch_cryptor import fill_architecture
from cryptors.torch_inference import check_device, module_signature, run_module, torch_device
from cryptors.weight_shards import check_shards, read_shards
from licensing.errors import UsageError

__all__ = ["SafetensorsCryptor"]

INDEX_ENDING = ".safetensors.index.json"


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

    def _computing_device(self, framework_options: dict[str, Any], loading: bool) -> str | None:
        return torch_device(framework_options.get("device"))

    def _decrypt(
        self,
        model: LockedModel,
        framework: str = "pt",
        device: Any = "cpu",
        architecture: str | None = None,
        lazy: bool = False,
    ) -> Any:
        """Returns the tensors by name, of all shards.

        Args:
            model: the open locked model.
            framework: "pt" for PyTorch tensors, "np" for NumPy arrays.
            device: where PyTorch tensors go.
            architecture: "FILE.py:NAME" or "package.module:NAME", a callable that returns the PyTorch module into
                which the tensors are loaded; the module is returned.
            lazy: True returns a `LazyTensors`, which decrypts each tensor when it is asked for.
        """
        check_framework(framework)
        if lazy:
            if architecture is not None:
                raise UsageError("a module needs all its tensors", "leave lazy or architecture out")
            return lazy_tensors(model, *_shards(model), framework, device)
        tensors: dict[str, Any] = {}
        shards, expected = _shards(model)
        for path in shards:
            shard = load_file(model.file(path), framework, device)
            if both := tensors.keys() & shard.keys():
                raise ModelMalformedError(f"two shards of the model hold the tensor {min(both)[:200]!r}")
            tensors.update(shard)
        if missing := expected.keys() - tensors.keys():
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
        self, data: bytes, framework: str = "pt", device: Any = "cpu", architecture: str | None = None
    ) -> Any:
        check_framework(framework)
        with PlaintextFile(len(data)) as memory:
            memory.view[:] = data
            memory.seal()
            tensors = load_path(memory.path, framework, device)
        return tensors if architecture is None else fill_architecture(architecture, tensors)


def _shards(model: LockedModel) -> tuple[list[str], dict[str, str]]:
    """Returns the files to load, and the tensors that must come out of them with the file of each.

    Where there is an index, it names both: model directories can hold the same tensors once more in one file.
    """
    paths = [file.path for file in model.index.files]
    indexes = [path for path in paths if path.endswith(INDEX_ENDING)]
    if not indexes:
        return [path for path in paths if path.endswith(".safetensors") or not model.index.directory], {}
    tensors: dict[str, str] = {}
    for path in indexes:
        tensors.update(read_shards(model, path))
    return sorted(set(tensors.values())), tensors
