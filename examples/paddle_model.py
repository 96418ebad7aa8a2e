"""Paddle: lock a program with its parameters, and run it in Paddle Inference from memory.

python examples/paddle_model.py
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy
import paddle

from cryptors import CryptorFactory, ModelType
from licensing import new_content_key


def make_model(prefix: Path) -> Any:
    """Writes a program (.json) and its parameters (.pdiparams), and returns what it gives for ones."""
    network = paddle.nn.Sequential(paddle.nn.Linear(4, 8), paddle.nn.ReLU(), paddle.nn.Linear(8, 2))
    network.eval()
    paddle.jit.save(network, str(prefix), input_spec=[paddle.static.InputSpec([None, 4], "float32", "x")])
    return network(paddle.ones([1, 4])).numpy()


def main(folder: Path) -> None:
    expected = make_model(folder / "network")

    # The program file finds its parameters. Programs of Paddle 2 (.pdmodel), directories and state dicts (.pdparams)
    # are locked in the same way.
    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_PADDLE)
    cryptor.encrypt(model=folder / "network.json", crypt_key=content_key, crypted_model=folder / "network.locked")

    predictor = cryptor.load(folder / "network.locked", crypt_key=content_key)
    predictor.get_input_handle("x").copy_from_cpu(numpy.ones((1, 4), numpy.float32))
    predictor.run()
    (name,) = predictor.get_output_names()
    output = predictor.get_output_handle(name).copy_to_cpu()
    assert numpy.allclose(output, expected, atol=1e-6)

    # What paddle.jit.load gives.
    layer = cryptor.load(folder / "network.locked", crypt_key=content_key, api="jit")
    assert numpy.allclose(layer(paddle.ones([1, 4])).numpy(), expected, atol=1e-6)
    print("the locked model gives the same output:", output.tolist())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
