"""Safetensors: one file and a sharded directory, as PyTorch tensors and as NumPy arrays."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch

from cryptors import ModelType
from tests.contract.case import Arrays, Case, trained_network
from tests.contract.cases_torch import TORCH, architecture, state_outputs, weights

__all__ = ["CASES"]


def make_safetensors(folder: Path, width: int) -> Path:
    safetensors.torch.save_file(trained_network(width).state_dict(), folder / "network.safetensors")
    return folder / "network.safetensors"


def make_sharded(folder: Path, width: int) -> Path:
    """Writes a directory as model hubs have them: two shards, their index, and a configuration."""
    state, model = trained_network(width).state_dict(), folder / "network"
    model.mkdir()
    weight_map = {}
    for number, layer in enumerate(("first", "last"), start=1):
        shard = f"model-0000{number}-of-00002.safetensors"
        safetensors.torch.save_file({name: state[name] for name in state if name.startswith(layer)}, model / shard)
        weight_map.update({name: shard for name in state if name.startswith(layer)})
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (model / "config.json").write_text("{}")
    return model


def read_safetensors(path: Path) -> Any:
    shards = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    return {name: tensor for shard in shards for name, tensor in safetensors.torch.load_file(shard).items()}


def safetensors_outputs(path: Path) -> Arrays:
    return state_outputs(read_safetensors(path))


SAFETENSORS = {"safetensors": "safetensors"}
PT, NP = {"framework": "pt"}, {"framework": "np"}

CASES = [
    *(
        Case(
            f"{name}-{framework['framework']}", ModelType.MODEL_SAFETENSORS, make, read_safetensors, weights,
            safetensors_outputs, {**SAFETENSORS, **backend}, framework, architecture, peak=peak,
        )
        for name, make in (("safetensors", make_safetensors), ("safetensors-sharded", make_sharded))
        # For NumPy, safetensors copies what it has mapped.
        for framework, backend, peak in ((PT, TORCH, 1.1), (NP, {"numpy": "safetensors"}, 1.1))
    ),
]  # fmt: skip
