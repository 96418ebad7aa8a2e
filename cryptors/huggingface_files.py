"""What of a Hugging Face model directory `transformers` needs: its configuration, and one set of weights of several."""

import json
from typing import Any

from cryptors.errors import ModelMalformedError
from cryptors.reader import LockedModel
from cryptors.weight_shards import read_shards

__all__ = ["INDEX_ENDINGS", "needed_files", "read_config"]

INDEX_ENDINGS = (".safetensors.index.json", ".bin.index.json")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where `transformers` looks for weights, in its order."""
_WEIGHT_ENDINGS = (
    ".bin", ".ckpt", ".gguf", ".h5", ".keras", ".mlmodel", ".msgpack", ".onnx", ".onnx.data", ".onnx_data", ".ot",
    ".pb", ".pt", ".pth", ".safetensors", ".tflite",
)  # fmt: skip


def read_config(model: LockedModel) -> dict[str, Any]:
    """Returns the model's configuration.

    Raises:
        ModelMalformedError: there is none, or it is no JSON object.
    """
    try:
        config = json.loads(model.file("config.json").read_all())
    except (ValueError, RecursionError) as cause:
        raise ModelMalformedError("the model's 'config.json' is not JSON") from cause
    if not isinstance(config, dict):
        raise ModelMalformedError("the model's 'config.json' is not a JSON object")
    return config


def needed_files(model: LockedModel, config: dict[str, Any]) -> list[str]:
    """Returns the files to put where `transformers` can read them.

    Directories as hubs keep them can hold the same weights in several formats. What would not be read is left out,
    because each file takes its size in memory; and code is left out, because it is never run.

    Args:
        model: the open locked model.
        config: its configuration.
    """
    paths = [file.path for file in model.index.files]
    weights = set(_weights(model, config, paths))
    return [
        path
        for path in paths
        if path in weights or path.startswith("adapter_model.") or not path.endswith((*_WEIGHT_ENDINGS, ".py"))
    ]


def _weights(model: LockedModel, config: dict[str, Any], paths: list[str]) -> list[str]:
    candidates = [config.get("transformers_weights"), *_WEIGHTS]
    for path in candidates:
        if path in paths:
            return [path, *read_shards(model, path).values()] if path.endswith(INDEX_ENDINGS) else [path]
    return []
