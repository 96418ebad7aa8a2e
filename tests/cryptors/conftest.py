"""Fixtures for the tests of the cryptors."""

from tests.cryptors.onnx_setting import onnx_folder

__all__ = ["onnx_folder"]
