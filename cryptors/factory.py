"""Cryptors by model type, and loading a locked model whose type its header tells."""

import importlib
import os
from typing import Any

from cryptors.base import Cryptor
from cryptors.errors import ModelTypeError
from cryptors.fernet_file import is_fernet
from cryptors.model_type import ModelType, model_type_of
from cryptors.reader import read_header

__all__ = ["CryptorFactory", "load_model"]

StrPath = str | os.PathLike[str]

_CRYPTORS = {
    ModelType.MODEL_TORCH: ("cryptors.torch_cryptor", "TorchCryptor"),
    ModelType.MODEL_TORCHSCRIPT: ("cryptors.torchscript_cryptor", "TorchScriptCryptor"),
    ModelType.MODEL_ONNX: ("cryptors.onnx_cryptor", "OnnxCryptor"),
    ModelType.MODEL_SAFETENSORS: ("cryptors.safetensors_cryptor", "SafetensorsCryptor"),
    ModelType.MODEL_TORCH_EXPORT: ("cryptors.torch_export_cryptor", "TorchExportCryptor"),
    ModelType.MODEL_GGUF: ("cryptors.gguf_cryptor", "GgufCryptor"),
    ModelType.MODEL_HUGGINGFACE: ("cryptors.huggingface_cryptor", "HuggingFaceCryptor"),
    ModelType.MODEL_OPENVINO: ("cryptors.openvino_cryptor", "OpenVinoCryptor"),
    ModelType.MODEL_LITERT: ("cryptors.litert_cryptor", "LiteRtCryptor"),
    ModelType.MODEL_TENSORRT: ("cryptors.tensorrt_cryptor", "TensorrtCryptor"),
    ModelType.MODEL_TORCH2TRT: ("cryptors.torch2trt_cryptor", "Torch2trtCryptor"),
    ModelType.MODEL_TENSORFLOW: ("cryptors.tensorflow_cryptor", "TensorFlowCryptor"),
    ModelType.MODEL_TF2TRT: ("cryptors.tf2trt_cryptor", "Tf2TrtCryptor"),
    ModelType.MODEL_PADDLE: ("cryptors.paddle_cryptor", "PaddleCryptor"),
    ModelType.MODEL_PADDLE2TRT: ("cryptors.paddle2trt_cryptor", "Paddle2trtCryptor"),
}


class CryptorFactory:
    """Makes cryptors."""

    @staticmethod
    def instance(model_type: ModelType | str) -> Cryptor:
        """Returns the cryptor for a type.

        Args:
            model_type: a `ModelType`, or its name, such as "onnx".

        Raises:
            ModelTypeError: there is no such type.
        """
        member = model_type_of(model_type)
        module, name = _CRYPTORS[member]
        cryptor: Cryptor = getattr(importlib.import_module(module), name)()
        return cryptor


def load_model(
    model: StrPath, license: StrPath | None = None, crypt_key: bytes | StrPath | None = None, **options: Any
) -> Any:
    """Decrypts a locked model into memory and returns what runs it, whatever its type.

    Args:
        model: the locked model.
        license: the license file; or
        crypt_key: the content key, on the vendor's side.
        **options: `trust`, `home` and the others that `Cryptor.load` takes, and those of the framework.

    Raises:
        LicensingError: the license does not unlock the model here.
        CryptorError: the file is not an intact locked model, or its framework is missing.
    """
    if is_fernet(model):
        raise ModelTypeError(
            "a file of the old toolkit does not say which type it is",
            "use CryptorFactory.instance(ModelType.…).decrypt(…)",
            reason="model_type_unknown",
        )
    header = read_header(model)
    return CryptorFactory.instance(header.model_type).load(model, crypt_key, license=license, **options)
