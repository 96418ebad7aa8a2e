"""The kinds of models that the suite tries, one module for each framework.

A framework that takes long to import is imported inside of its case's functions, not with its module.
"""

from tests.contract import cases_onnx, cases_safetensors, cases_torch
from tests.contract.case import Case

__all__ = ["CASES"]

CASES: list[Case] = [
    *cases_torch.CASES,
    *cases_onnx.CASES,
    *cases_safetensors.CASES,
]
