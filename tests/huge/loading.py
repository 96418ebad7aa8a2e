"""Loads a model of tests/huge/models.py with a license, in a process whose memory another one watches.

    python -m tests.huge.loading TYPE whole|lazy LOCKED LICENSE TRUST HOME

It says `ready` when it has imported what it needs, loads when it is sent a line, says how many seconds that took, and
checks what was loaded when it is sent another one.
"""

import importlib
import sys
import time
from typing import Any

from cryptors import load_model
from tests.huge.models import INPUTS, MEBIBYTES, check_outputs, check_tensor

LIBRARIES = {"torch": "torch", "safetensors": "torch", "onnx": "onnxruntime"}
LAST = "bias"


def main(model_type: str, how: str, locked: str, license: str, trust: str, home: str) -> None:
    importlib.import_module(LIBRARIES[model_type])
    options: dict[str, Any] = {"lazy": True} if how == "lazy" else {}
    wait("ready")
    started = time.perf_counter()
    loaded = load_model(locked, license=license, trust=trust, home=home, **options)
    tensor = loaded[LAST] if how == "lazy" else None
    wait(str(time.perf_counter() - started))
    if model_type == "onnx":
        check_outputs(loaded.run(None, INPUTS)[0])
    elif tensor is not None:
        check_tensor(LAST, tensor.numpy())
    else:
        check_tensors(loaded)
    print("checked", flush=True)


def check_tensors(loaded: Any) -> None:
    assert set(loaded) == set(MEBIBYTES)
    for name in MEBIBYTES:
        check_tensor(name, loaded[name].numpy())


def wait(word: str) -> None:
    print(word, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
