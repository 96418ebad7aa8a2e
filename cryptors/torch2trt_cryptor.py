"""torch2trt: the state dict of a `TRTModule`, which holds a TensorRT engine."""

import io
import pickle
from collections.abc import Mapping
from typing import Any, BinaryIO

from cryptors.base import Cryptor
from cryptors.errors import FrameworkMissingError, ModelRejectedError, UnsafePickleError
from cryptors.frameworks import import_framework
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel
from cryptors.signature import Signature, bind_inputs
from cryptors.tensorrt_device import gpu_index
from cryptors.tensorrt_inference import engine_signature
from cryptors.torch_file import BUFFER_BYTES
from cryptors.torch_inference import check_device, run_module, torch_device

__all__ = ["Torch2trtCryptor"]


class Torch2trtCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_TORCH2TRT`."""

    model_type = ModelType.MODEL_TORCH2TRT
    extra = "torch"
    default_device = "cuda:0"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        bound = bind_inputs(inputs, loaded.input_names)
        positional = {f"arr_{number}": bound[name] for number, name in enumerate(loaded.input_names)}
        outputs = run_module(loaded, positional, device)
        if len(outputs) != len(loaded.output_names):
            return outputs
        return dict(zip(loaded.output_names, outputs.values(), strict=True))

    def signature(self, loaded: Any) -> Signature:
        return engine_signature(loaded.engine)

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        options = super().run_options(device, architecture, allow_pickle)
        _check_gpu(device)
        return options

    def _computing_device(self, framework_options: dict[str, Any], loading: bool) -> str | None:
        return torch_device(framework_options.get("device", self.default_device))

    def _decrypt(self, model: LockedModel, device: str = "cuda:0") -> Any:
        """Returns the `TRTModule`.

        Args:
            model: the open locked model.
            device: "cuda:N".

        Raises:
            FrameworkMissingError: PyTorch finds no GPU, or torch2trt is not installed.
            UnsafePickleError: the model is a pickle that is more than a state dict.
        """
        with io.BufferedReader(model.file(), BUFFER_BYTES) as file:
            return _load_module(file, device)

    def _decrypt_bytes(self, data: bytes, device: str = "cuda:0") -> Any:
        return _load_module(io.BytesIO(data), device)


def _check_gpu(device: str) -> None:
    """Refuses a device that is no GPU of this machine, before anything is decrypted for it."""
    gpu_index(device)
    check_device(device)


def _load_module(file: BinaryIO, device: str) -> Any:
    _check_gpu(device)
    torch, torch2trt = import_framework("torch", "torch"), _import_torch2trt()
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as cause:
        raise UnsafePickleError(
            "the model is a pickle that is more than a state dict, and loading it could run code",
            "ask the vendor for one of torch.save(module.state_dict(), …)",
        ) from cause
    if not isinstance(state, Mapping):
        raise ModelRejectedError("the model is no state dict")
    module = torch2trt.TRTModule()
    try:
        with torch.cuda.device(device):
            module.load_state_dict(state)
    except AttributeError as cause:
        if "NoneType" not in str(cause):
            raise
        raise ModelRejectedError(
            "TensorRT did not accept the engine in the model; it said why on this process's standard error",
            "engines are for one version of TensorRT and one kind of GPU: ask the vendor for one for yours",
        ) from cause
    return module.eval()


def _import_torch2trt() -> Any:
    try:
        return import_framework("torch2trt", "tensorrt")
    except FrameworkMissingError as error:
        if "torch2trt" not in error.message:  # It is there, and TensorRT is not.
            raise
        # It is in no package index: what is said of all other frameworks would be wrong.
        raise FrameworkMissingError(
            error.message, "install torch2trt from its repository, github.com/NVIDIA-AI-IOT/torch2trt"
        ) from error.__cause__
