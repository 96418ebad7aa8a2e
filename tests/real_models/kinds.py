"""All forms of the real models, one module for each family of frameworks.

Left out:

- ResNet-18 in GGUF: llama.cpp has no networks of convolutions.
- Both in TF-TRT: only a TensorFlow with TensorRT converts models, on a GPU.
- MiniLM in HDF5: Keras writes it and cannot read it back, because that format has layers only, and no operations.
- MiniLM as a Paddle program of before Paddle 3, and so for Paddle-TRT: Paddle 3.3 fails to write its own layers so.
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
