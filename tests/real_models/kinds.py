"""All forms of the real models, one module for each family of frameworks.

Left out, because the format cannot hold it: ResNet-18 in GGUF (llama.cpp has no networks of convolutions).
"""

from tests.real_models import (
    gguf_kinds,
    huggingface_kinds,
    onnx_kinds,
    paddle_kinds,
    tensorflow_kinds,
    tensorrt_kinds,
    torch_kinds,
)
from tests.real_models.kind import Kind

__all__ = ["KINDS"]

KINDS: list[Kind] = [
    *torch_kinds.KINDS,
    *huggingface_kinds.KINDS,
    *onnx_kinds.KINDS,
    *tensorrt_kinds.KINDS,
    *tensorflow_kinds.KINDS,
    *paddle_kinds.KINDS,
    *gguf_kinds.KINDS,
]
