"""TorchScript: lock a script module, and run it from memory.

python examples/torchscript_model.py
"""

import tempfile
from pathlib import Path

import torch

from cryptors import CryptorFactory, ModelType
from licensing import new_content_key


def main(folder: Path) -> None:
    network = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(8, 2), torch.nn.Tanh()))
    torch.jit.save(network, folder / "network.pt")

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_TORCHSCRIPT)
    cryptor.encrypt(model=folder / "network.pt", crypt_key=content_key, crypted_model=folder / "network.pt.locked")
    unlocked = cryptor.decrypt(folder / "network.pt.locked", crypt_key=content_key, map_location="cpu")

    inputs = torch.ones(1, 8)
    assert torch.equal(network(inputs), unlocked(inputs))
    print("the locked model gives the same output:", unlocked(inputs).tolist())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
