"""OpenVINO: lock an IR, get its graph back, and run it compiled from memory.

python examples/openvino_model.py
"""

import sys
import tempfile
from pathlib import Path

import numpy

from cryptors import CryptorFactory, ModelType
from licensing import new_content_key


def make_model(path: Path) -> None:
    """Writes a model that multiplies by a matrix: the `.xml` file, and the weights in the `.bin` file beside it."""
    # Importing OpenVINO sends a message to its makers, unless this package is missing. Cryptors see to that themselves.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino
    from openvino import opset13

    x = opset13.parameter([-1, 4], openvino.Type.f32, name="x")
    weight = opset13.constant(numpy.arange(8, dtype=numpy.float32).reshape(4, 2))
    y = opset13.matmul(x, weight, False, False)
    openvino.save_model(openvino.Model([y], [x], "example"), path, compress_to_fp16=False)


def main(folder: Path) -> None:
    make_model(folder / "network.xml")

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_OPENVINO)
    cryptor.encrypt(model=folder / "network.xml", crypt_key=content_key, crypted_model=folder / "network.locked")

    # `decrypt` gives an openvino.Model; `load` one that is compiled for a device.
    graph = cryptor.decrypt(folder / "network.locked", crypt_key=content_key)
    assert [node.get_type_name() for node in graph.get_ordered_ops()].count("MatMul") == 1
    compiled = cryptor.load(folder / "network.locked", crypt_key=content_key)
    output = compiled({0: numpy.ones((1, 4), numpy.float32)})[0]
    assert output.tolist() == [[12.0, 16.0]]
    print("the locked model gives the same output:", output.tolist())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
