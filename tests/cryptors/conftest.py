"""Fixtures for the tests of the cryptors."""

from tests.cryptors.huggingface_setting import bert, memory_only
from tests.cryptors.onnx_setting import onnx_folder

__all__ = ["bert", "memory_only", "onnx_folder"]
