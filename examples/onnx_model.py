"""ONNX: lock a model, get its bytes back, and run it in ONNX Runtime from memory.

python examples/onnx_model.py
"""

import tempfile
from pathlib import Path

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

from cryptors import CryptorFactory, ModelType
from licensing import new_content_key


def make_model(path: Path) -> None:
    """Writes a model that multiplies by a matrix."""
    weight = numpy_helper.from_array(numpy.arange(8, dtype=numpy.float32).reshape(4, 2), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "example",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def main(folder: Path) -> None:
    make_model(folder / "network.onnx")

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_ONNX)
    cryptor.encrypt(model=folder / "network.onnx", crypt_key=content_key, crypted_model=folder / "network.onnx.locked")

    # `decrypt` gives the bytes of the ONNX file; `load` an InferenceSession.
    assert (
        cryptor.decrypt(folder / "network.onnx.locked", crypt_key=content_key) == (folder / "network.onnx").read_bytes()
    )
    session = cryptor.load(folder / "network.onnx.locked", crypt_key=content_key)
    (output,) = session.run(None, {"x": numpy.ones((1, 4), numpy.float32)})
    assert output.tolist() == [[12.0, 16.0]]
    print("the locked model gives the same output:", output.tolist())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
