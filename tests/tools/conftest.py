"""What the tests of the tools share."""

import os
from pathlib import Path

import pytest

# ONNX Runtime reads this when it is first imported. Without it, versions from 1.29 on send telemetry that can name
# tensors, and a test run must not report anything to anybody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@pytest.fixture(scope="session")
def minilm_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real trained model all-MiniLM-L6-v2 as an ONNX file of 90 MB; read it, never write to it."""
    from tools.demo_model import build_minilm_onnx, find_minilm

    output = tmp_path_factory.mktemp("minilm") / "minilm.onnx"
    build_minilm_onnx(find_minilm(), output)
    return output
