"""torch.export: lock an exported program, and run it from memory.

python examples/torch_export_model.py
"""

import tempfile
from pathlib import Path

import torch

from cryptors import CryptorFactory, ModelType
from licensing import new_content_key


def main(folder: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
    x = torch.ones(3, 4)
    # The program takes any number of rows.
    program = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    torch.export.save(program, folder / "network.pt2")

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_TORCH_EXPORT)
    cryptor.encrypt(model=folder / "network.pt2", crypt_key=content_key, crypted_model=folder / "network.pt2.locked")

    # What comes back is an ExportedProgram; its `module()` runs.
    loaded = cryptor.load(folder / "network.pt2.locked", crypt_key=content_key)
    with torch.inference_mode():
        assert torch.equal(loaded.module()(x), network(x))
    print("the locked program gives the same output:", loaded.module()(x).shape)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
