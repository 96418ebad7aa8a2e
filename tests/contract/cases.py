"""The kinds of models that the suite tries, one module for each framework.

A framework that takes long to import is imported inside of its case's functions, not with its module.
"""

from tests.contract import (
    cases_gguf,
    cases_huggingface,
    cases_litert,
    cases_onnx,
    cases_openvino,
    cases_paddle,
    cases_safetensors,
    cases_tensorflow,
    cases_tensorrt,
    cases_torch,
    cases_torch_export,
)
from tests.contract.case import Case

__all__ = ["CASES"]

CASES: list[Case] = [
    *cases_torch.CASES,
    *cases_onnx.CASES,
    *cases_openvino.CASES,
    *cases_paddle.CASES,
    *cases_litert.CASES,
    *cases_safetensors.CASES,
    *cases_huggingface.CASES,
    *cases_gguf.CASES,
    *cases_tensorflow.CASES,
    *cases_tensorrt.CASES,
    *cases_torch_export.CASES,
]
