"""What of a Hugging Face model directory `transformers` needs: its configuration, and one set of weights of several."""

import json
from collections.abc import Collection
from typing import Any

from cryptors.errors import ModelMalformedError
from cryptors.reader import LockedModel
from cryptors.weight_shards import read_shards

__all__ = ["INDEX_ENDINGS", "find_weights", "needed_files", "parse_config", "read_config"]

INDEX_ENDINGS = (".safetensors.index.json", ".bin.index.json")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where `transformers` looks for weights, in its order."""
_WEIGHT_ENDINGS = (
    ".bin", ".ckpt", ".gguf", ".h5", ".keras", ".mlmodel", ".msgpack", ".onnx", ".onnx.data", ".onnx_data", ".ot",
    ".pb", ".pt", ".pth", ".safetensors", ".tflite",
)  # fmt: skip


def read_config(model: LockedModel) -> dict[str, Any]:
    """Returns a locked model's configuration.

    Raises:
        ModelMalformedError: there is none, or it is no JSON object.
    """
    return parse_config(model.file("config.json").read_all())


def parse_config(data: bytes) -> dict[str, Any]:
    """Returns the configuration that a `config.json` holds; errors as above."""
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as cause:
        raise ModelMalformedError("the model's 'config.json' is not JSON") from cause
    if not isinstance(config, dict):
        raise ModelMalformedError("the model's 'config.json' is not a JSON object")
    return config


def find_weights(config: dict[str, Any], paths: Collection[str]) -> str | None:
    """Returns the file that `transformers` would read weights from, or the index of its shards."""
    for path in (config.get("transformers_weights"), *_WEIGHTS):
        if path in paths:
            return path
    return None


def needed_files(model: LockedModel, config: dict[str, Any]) -> list[str]:
    """Returns the files to put where `transformers` can read them.

    Directories as hubs keep them can hold the same weights in several formats. What would not be read is left out,
    because each file takes its size in memory; and code is left out, because it is never run.

    Args:
        model: the open locked model.
        config: its configuration.
    """
    paths = [file.path for file in model.index.files]
    found = find_weights(config, paths)
    weights = {found}
    if found is not None and found.endswith(INDEX_ENDINGS):
        weights.update(read_shards(model, found).values())
    return [
        path
        for path in paths
        if path in weights or path.startswith("adapter_model.") or not path.endswith((*_WEIGHT_ENDINGS, ".py"))
    ]
