"""PyTorch: lock a state dict, and load it back into memory with the content key.

    python examples/torch_model.py

This is the vendor's side, where the content key itself is at hand; examples/two_days.py shows a license.
"""

import tempfile
from pathlib import Path

import torch

from cryptors import CryptorFactory, ModelType
from licensing import new_content_key


def main(folder: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    torch.save(network.state_dict(), folder / "network.pth")

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_TORCH)
    cryptor.encrypt(model=folder / "network.pth", crypt_key=content_key, crypted_model=folder / "network.pth.locked")
    state_dict = cryptor.decrypt(folder / "network.pth.locked", crypt_key=content_key, map_location="cpu")

    unlocked = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    unlocked.load_state_dict(state_dict)
    inputs = torch.ones(1, 8)
    assert torch.equal(network(inputs), unlocked(inputs))
    print("the locked model gives the same output:", unlocked(inputs).tolist())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
