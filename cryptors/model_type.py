"""The model types. docs/spec/container.md, section "Types"."""

from enum import Enum, unique

from cryptors.errors import ModelTypeError

__all__ = ["ModelType", "model_type_of"]


@unique
class ModelType(Enum):
    """The types of models. The value is what a container's header says."""

    MODEL_TORCH = "torch"
    """PyTorch: a state dict, or a whole module (a pickle; see `weights_only`)."""
    MODEL_TORCHSCRIPT = "torchscript"
    """TorchScript: what `torch.jit.save` writes."""
    MODEL_ONNX = "onnx"
    """ONNX: one file, or with external data."""
    MODEL_TENSORRT = "tensorrt"
    """A TensorRT plan."""
    MODEL_TORCH2TRT = "torch2trt"
    """The state dict of a torch2trt `TRTModule`."""
    MODEL_TENSORFLOW = "tensorflow"
    """A TensorFlow SavedModel or a Keras file."""
    MODEL_TF2TRT = "tf2trt"
    """A SavedModel converted by TF-TRT."""
    MODEL_PADDLE = "paddle"
    """A Paddle inference model or state dict."""
    MODEL_PADDLE2TRT = "paddle2trt"
    """A Paddle inference model for Paddle-TRT."""
    MODEL_SAFETENSORS = "safetensors"
    """Safetensors: one file, or a sharded directory."""
    MODEL_TORCH_EXPORT = "torch_export"
    """An exported PyTorch program (`.pt2`): what `torch.export.save` writes."""
    MODEL_OPENVINO = "openvino"
    """OpenVINO IR: an `.xml` file with its `.bin` file."""
    MODEL_LITERT = "litert"
    """A LiteRT (TensorFlow Lite) flatbuffer (`.tflite`)."""
    MODEL_GGUF = "gguf"
    """A GGUF file, as llama.cpp runs it."""
    MODEL_HUGGINGFACE = "huggingface"
    """A Hugging Face model directory: configuration, tokenizer and weights."""


def model_type_of(name: "str | ModelType") -> ModelType:
    """Returns the type of this name.

    Raises:
        ModelTypeError: there is no such type.
    """
    if isinstance(name, ModelType):
        return name
    try:
        return ModelType(name.lower().removeprefix("model_"))
    except ValueError as cause:
        known = ", ".join(member.value for member in ModelType)
        raise ModelTypeError(
            f"there is no model type {name[:50]!r}", f"the types are {known}", reason="model_type_unknown"
        ) from cause
