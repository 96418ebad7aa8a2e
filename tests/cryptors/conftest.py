"""Fixtures for the tests of the cryptors."""

from tests.cryptors.huggingface_setting import bert
from tests.cryptors.leftovers import memory_only
from tests.cryptors.onnx_setting import onnx_folder
from tests.cryptors.paddle_setting import paddle_written

__all__ = ["bert", "memory_only", "onnx_folder", "paddle_written"]
