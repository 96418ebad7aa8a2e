"""TF-TRT: SavedModels that TensorFlow's converter for TensorRT wrote, with their engines among the assets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptors.base import Cryptor
from cryptors.errors import FrameworkMissingError, FrameworkUnsuitableError, ModelTypeError
from cryptors.frameworks import import_framework
from cryptors.model_type import ModelType
from cryptors.reader import LockedModel
from cryptors.signature import Signature
from cryptors.source import ModelSource
from cryptors.tensorflow_cryptor import check_variables, load_saved_model
from cryptors.tensorflow_inference import import_tensorflow, on_device, run_saved_model, saved_model_signature

__all__ = ["Tf2TrtCryptor"]


class Tf2TrtCryptor(Cryptor):
    """The cryptor for `ModelType.MODEL_TF2TRT`."""

    model_type = ModelType.MODEL_TF2TRT
    extra = "tensorflow"

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        return run_saved_model(loaded, inputs, device)

    def signature(self, loaded: Any) -> Signature:
        return saved_model_signature(loaded)

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        options = super().run_options(device, architecture, allow_pickle)
        check_tensorrt()
        on_device(device)
        return options

    def _decrypt(self, model: LockedModel, device: str | None = None, tags: Sequence[str] | str | None = None) -> Any:
        """Returns what `tf.saved_model.load` returns.

        Args:
            model: the open locked model.
            device: "cpu" or "cuda:N"; by default, TensorFlow chooses. Engines run on a GPU.
            tags: as in `tf.saved_model.load`.

        Raises:
            FrameworkUnsuitableError: this TensorFlow has no TensorRT; nothing of the model was decrypted but its index.
        """
        check_tensorrt()
        with on_device(device):
            return load_saved_model(model, tags)

    def _decrypt_bytes(self, data: bytes, **options: Any) -> Any:
        raise ModelTypeError("a model of TF-TRT is a directory, and this is one file")

    def _source(self, model: Path) -> ModelSource:
        source = super()._source(model)
        check_variables(source)
        return source


def check_tensorrt() -> None:
    """Refuses a TensorFlow without TensorRT, which knows none of the operations that run engines.

    Raises:
        FrameworkUnsuitableError: it was built without; the hints say which was built with it.
        FrameworkMissingError: TensorRT's libraries are not here. TensorFlow would end the process when it needs them.
    """
    tensorflow = import_tensorflow()
    if not tensorflow.sysconfig.get_build_info().get("is_tensorrt_build"):
        # TensorFlow's release notes for 2.17.0: "this is the last release supporting TensorRT".
        raise FrameworkUnsuitableError(
            f"this TensorFlow ({tensorflow.__version__}) was built without TensorRT, which models of TF-TRT need",
            "TensorFlow 2.17 was the last release with it, in its builds for CUDA on Linux",
            "or encrypt the model from which this one was converted",
        )
    tensorrt = import_framework("tensorflow.compiler.tf2tensorrt._pywrap_py_utils", "tensorflow")
    if not tensorrt.is_tensorrt_enabled():
        version = ".".join(map(str, tensorrt.get_linked_tensorrt_version()))
        raise FrameworkMissingError(
            f"TensorFlow does not find the libraries of TensorRT {version}, which models of TF-TRT need",
            f"install that version, so that libnvinfer.so.{version} is where LD_LIBRARY_PATH leads",
        )
