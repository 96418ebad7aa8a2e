"""LiteRT: one flatbuffer, for any number of rows."""

from pathlib import Path
from typing import Any

import numpy as np

from cryptors import ModelType
from tests.contract.case import Arrays, Case, inputs, trained_weights

__all__ = ["CASES", "make_litert"]


def make_litert(folder: Path, width: int, signature: str | None = "serving_default", custom: str | None = None) -> Path:
    """Writes the network by LiteRT's own schema, which takes no time; TensorFlow's converter takes a minute.

    Args:
        folder: where to.
        width: of the network.
        signature: the name of its signature; None for a graph without any.
        custom: the name of an operator of somebody else's that stands in the place of the last layer.
    """
    import flatbuffers  # type: ignore[import-untyped]
    from ai_edge_litert import schema_py_generated as schema

    weights = trained_weights(width)
    arrays = [weights[name] for name in ("first.weight", "first.bias", "last.weight", "last.bias")]

    def tensor(name: str, shape: list[int], buffer: int = 0, rows: bool = False) -> Any:
        signature = [-1, *shape[1:]] if rows else None
        return schema.TensorT(name=name, shape=shape, shapeSignature=signature, buffer=buffer, hasRank=True)

    def layer(takes: list[int], gives: int, activation: int, code: int = 0) -> Any:
        options = schema.FullyConnectedOptionsT(fusedActivationFunction=activation)
        kind = schema.BuiltinOptions.FullyConnectedOptions
        if code:
            return schema.OperatorT(code, takes, [gives])
        return schema.OperatorT(code, takes, [gives], builtinOptionsType=kind, builtinOptions=options)

    tensors = [
        tensor("serving_default_x:0", [1, width], rows=True),
        *(tensor(f"weights_{number}", list(array.shape), number + 1) for number, array in enumerate(arrays)),
        tensor("active", [1, width], rows=True),
        tensor("PartitionedCall:0", [1, 3], rows=True),
    ]
    layers = [
        layer([0, 1, 2], 5, schema.ActivationFunctionType.RELU),
        layer([5, 3, 4], 6, schema.ActivationFunctionType.NONE, code=1 if custom else 0),
    ]
    codes = [schema.OperatorCodeT(schema.BuiltinOperator.FULLY_CONNECTED, None, 1, 9)]
    if custom:
        codes.append(schema.OperatorCodeT(schema.BuiltinOperator.CUSTOM, custom, 1, schema.BuiltinOperator.CUSTOM))
    signatures = [schema.SignatureDefT([schema.TensorMapT("x", 0)], [schema.TensorMapT("y", 6)], signature)]
    model = schema.ModelT(
        version=3,
        operatorCodes=codes,
        subgraphs=[schema.SubGraphT(tensors, [0], [6], layers, "main")],
        buffers=[schema.BufferT(), *(schema.BufferT(array.reshape(-1).view(np.uint8)) for array in arrays)],
        signatureDefs=signatures if signature else None,
    )
    builder = flatbuffers.Builder(sum(array.nbytes for array in arrays) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    (folder / "network.tflite").write_bytes(builder.Output())
    return folder / "network.tflite"


def read_litert(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(path))


def litert_outputs(model: Any) -> Arrays:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model) if isinstance(model, bytes) else model
    (x,) = interpreter.get_input_details()
    outputs: Arrays = interpreter.get_signature_runner()(**inputs(int(x["shape"][1])))
    return outputs


def run_litert(path: Path) -> Arrays:
    return litert_outputs(read_litert(path))


CASES = [
    Case(
        "litert", ModelType.MODEL_LITERT, make_litert, read_litert, litert_outputs, run_litert,
        {"ai_edge_litert": "litert"}, peak=2.1,
    ),
]  # fmt: skip
"""LiteRT keeps a second copy of the weights, packed for the processor."""
