"""Safetensors: lock a directory of shards, and load all tensors into memory.

python examples/safetensors_model.py
"""

import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from cryptors import CryptorFactory, ModelType
from licensing import new_content_key


def main(folder: Path) -> None:
    model = folder / "model"
    model.mkdir()
    shards = {
        "model-00001-of-00002.safetensors": {"embedding": torch.arange(12.0).reshape(3, 4)},
        "model-00002-of-00002.safetensors": {"head": torch.ones(4, 2)},
    }
    for name, tensors in shards.items():
        save_file(tensors, model / name)
    weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_SAFETENSORS)
    cryptor.encrypt(model=model, crypt_key=content_key, crypted_model=folder / "model.locked")
    tensors = cryptor.decrypt(folder / "model.locked", crypt_key=content_key, framework="pt")

    for expected in shards.values():
        assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
    print("the locked model holds the same tensors:", {name: tuple(tensor.shape) for name, tensor in tensors.items()})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
