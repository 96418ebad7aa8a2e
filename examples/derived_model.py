"""Derived models: what a customer's box makes from a locked model stays locked under the same license.

An optimised graph and a compiled model hold the weights of the model that they were made from.

python examples/derived_model.py
"""

import tempfile
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from cryptors import CryptorFactory, ModelType, load_derived, load_model
from cryptors.openvino_runtime import import_openvino
from licensing import new_content_key

INPUTS = {"x": numpy.ones((1, 4), numpy.float32)}


def make_model(path: Path) -> None:
    """Writes a model that multiplies by a matrix."""
    weight = numpy_helper.from_array(numpy.arange(8, dtype=numpy.float32).reshape(4, 2), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "example",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def main(folder: Path) -> None:
    make_model(folder / "network.onnx")
    locked, content_key = folder / "network.onnx.locked", new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_ONNX)
    cryptor.encrypt(model=folder / "network.onnx", crypt_key=content_key, crypted_model=locked)

    # A customer writes license="acme.lic" in the place of crypt_key=content_key, here and below.
    def optimise(path: str) -> None:
        """Has ONNX Runtime write its optimised graph, to a path in memory."""
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = path
        load_model(locked, crypt_key=content_key, sess_options=options)

    def compile_for_this_processor(path: str) -> None:
        """Has OpenVINO compile the model, and writes what came out to a path in memory."""
        core = import_openvino().Core()  # What `import openvino` alone would do, less its telemetry.
        model = core.read_model(cryptor.decrypt(locked, crypt_key=content_key))
        Path(path).write_bytes(core.compile_model(model, "CPU").export_model().getvalue())

    (expected,) = load_model(locked, crypt_key=content_key).run(None, INPUTS)
    for _ in range(2):  # Made on the first start, only loaded on the second.
        session = load_derived(locked, optimise, folder / "optimised.locked", crypt_key=content_key)
        assert session.run(None, INPUTS)[0].tolist() == expected.tolist()
        compiled = load_derived(
            locked, compile_for_this_processor, folder / "compiled.locked", crypt_key=content_key, model_type="openvino"
        )
        assert compiled(INPUTS)[0].tolist() == expected.tolist()
    print("the optimised graph and the compiled model give the same output:", expected.tolist())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
