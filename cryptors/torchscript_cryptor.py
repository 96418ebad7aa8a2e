"""TorchScript: what `torch.jit.save` writes."""

import io
from typing import Any

from cryptors.base import Cryptor
from cryptors.frameworks import import_framework
from cryptors.memory import PlaintextFile
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel
from cryptors.signature import Signature
from cryptors.torch_inference import check_device, module_signature, run_module, torch_device

__all__ = ["TorchScriptCryptor"]


class TorchScriptCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_TORCHSCRIPT`."""

    model_type = ModelType.MODEL_TORCHSCRIPT
    extra = "torch"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        return run_module(loaded, inputs, device)

    def signature(self, loaded: Any) -> Signature:
        return module_signature(loaded)

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        check_device(device)
        return {"map_location": super().run_options(device, architecture, allow_pickle)["device"]}

    def _computing_device(self, framework_options: dict[str, Any], loading: bool) -> str | None:
        return torch_device(framework_options.get("map_location"))

    def _decrypt(self, model: LockedModel, map_location: Any = "cpu") -> Any:
        """Returns the script module, read from a sealed memory file: of a buffer PyTorch would make two more copies.

        Args:
            model: the open locked model.
            map_location: as in `torch.jit.load`.
        """
        torch, file = import_framework("torch", "torch"), model.file()
        with PlaintextFile(file.size) as memory:
            file.read_all_into(memory.view)
            memory.seal()
            return torch.jit.load(memory.path, map_location=map_location)

    def _decrypt_bytes(self, data: bytes, map_location: Any = "cpu") -> Any:
        torch = import_framework("torch", "torch")
        return torch.jit.load(io.BytesIO(data), map_location=map_location)
