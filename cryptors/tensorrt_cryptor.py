"""TensorRT: a plan, of the full TensorRT or of TensorRT for RTX."""

import io
from typing import Any

from cryptors.base import Cryptor
from cryptors.errors import ModelRejectedError
from cryptors.file_formats import plan_start
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel
from cryptors.signature import Signature
from cryptors.tensorrt_device import use_gpu
from cryptors.tensorrt_inference import engine_signature, run_engine
from cryptors.tensorrt_runtime import deserialize, import_tensorrt
from cryptors.tensorrt_stream import Readable

__all__ = ["TensorrtCryptor"]

MAGIC_BYTES = 4


class TensorrtCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_TENSORRT`."""

    model_type = ModelType.MODEL_TENSORRT
    extra = "tensorrt"
    default_device = "cuda:0"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        return run_engine(loaded, inputs, use_gpu(device))

    def signature(self, loaded: Any) -> Signature:
        return engine_signature(loaded)

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        options = super().run_options(device, architecture, allow_pickle)
        use_gpu(device)
        return options

    def _computing_device(self, framework_options: dict[str, Any], loading: bool) -> str | None:
        return super()._computing_device(framework_options, loading) if loading else None

    def _decrypt(self, model: LockedModel) -> bytes:
        """Returns the file as it was encrypted; that needs neither a GPU nor TensorRT."""
        return model.file().read_all()

    def _load(self, model: LockedModel, device: str = "cuda:0") -> Any:
        """Returns an `ICudaEngine`, read from the model as it is decrypted.

        The GPU stays the one that this thread computes on: what runs the engine needs it to be.

        Args:
            model: the open locked model.
            device: "cuda:N".

        Raises:
            FrameworkMissingError: there is no GPU or no TensorRT here, or none that fits the plan.
        """
        use_gpu(device)
        return _engine(model.file())

    def _decrypt_bytes(self, data: bytes) -> bytes:
        return data

    def _load_bytes(self, data: bytes, device: str = "cuda:0") -> Any:
        use_gpu(device)
        return _engine(io.BytesIO(data))


def _engine(file: Readable) -> Any:
    start = plan_start(file)
    if start is None:
        raise ModelRejectedError("the model does not begin as TensorRT's plans do")
    file.seek(start)
    return deserialize(import_tensorrt(file.read(MAGIC_BYTES) or b""), file, start)
