"""LiteRT: lock a TensorFlow Lite model, get its bytes back, and run it from memory.

python examples/litert_model.py
"""

import tempfile
from pathlib import Path

import numpy
from ai_edge_litert.interpreter import Interpreter

from cryptors import CryptorFactory, ModelType
from licensing import new_content_key


def make_model(path: Path) -> None:
    """Writes a model of one layer. Usually tensorflow.lite.TFLiteConverter does that."""
    import flatbuffers  # type: ignore[import-untyped]
    from ai_edge_litert import schema_py_generated as schema

    weight = numpy.arange(8, dtype=numpy.float32).reshape(2, 4)
    layer = schema.OperatorT(0, [0, 1, -1], [2])
    layer.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    layer.builtinOptions = schema.FullyConnectedOptionsT()
    tensors = [
        schema.TensorT([1, 4], name="x", shapeSignature=[-1, 4]),
        schema.TensorT([2, 4], name="weight", buffer=1),
        schema.TensorT([1, 2], name="y", shapeSignature=[-1, 2]),
    ]
    fully_connected = schema.BuiltinOperator.FULLY_CONNECTED
    model = schema.ModelT(
        version=3,
        operatorCodes=[schema.OperatorCodeT(fully_connected, builtinCode=fully_connected)],
        subgraphs=[schema.SubGraphT(tensors, [0], [2], [layer], "main")],
        buffers=[schema.BufferT(), schema.BufferT(weight.reshape(-1).view(numpy.uint8))],
        signatureDefs=[
            schema.SignatureDefT([schema.TensorMapT("x", 0)], [schema.TensorMapT("y", 2)], "serving_default")
        ],
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())


def run(interpreter: Interpreter) -> list[list[float]]:
    output: list[list[float]] = interpreter.get_signature_runner()(x=numpy.ones((1, 4), numpy.float32))["y"].tolist()
    return output


def main(folder: Path) -> None:
    make_model(folder / "network.tflite")

    content_key = new_content_key()
    cryptor = CryptorFactory.instance(ModelType.MODEL_LITERT)
    cryptor.encrypt(model=folder / "network.tflite", crypt_key=content_key, crypted_model=folder / "network.locked")

    # `decrypt` gives the bytes of the file; `load` an interpreter whose tensors are allocated.
    plaintext = cryptor.decrypt(folder / "network.locked", crypt_key=content_key)
    assert plaintext == (folder / "network.tflite").read_bytes()
    output = run(cryptor.load(folder / "network.locked", crypt_key=content_key))
    assert output == run(Interpreter(str(folder / "network.tflite")))
    print("the locked model gives the same output:", output)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
