"""Real plans, built by TensorRT for RTX: that needs no GPU. Deserializing them does."""

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from tests.onnx_models import inside

__all__ = ["build_plan", "write_network"]


def write_network(path: Path, weights: dict[str, Any]) -> Path:
    """Writes the contract's network as ONNX, for any number of rows from one to eight.

    Args:
        path: where to.
        weights: as `tests.contract.case.trained_weights` returns them.
    """
    width = weights["first.weight"].shape[1]
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "first.weight", "first.bias"], ["hidden"], transB=1),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "last.weight", "last.bias"], ["y"], transB=1),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])],
        [inside(name, array) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def build_plan(model: Path, module: Any) -> bytes:
    """Returns the plan of such a network.

    Args:
        model: the ONNX file.
        module: `tensorrt_rtx`, or `tensorrt`, which needs a GPU.
    """
    logger = module.Logger(module.Logger.ERROR)
    builder = module.Builder(logger)
    network = builder.create_network(0)
    parser = module.OnnxParser(network, logger)
    assert parser.parse(model.read_bytes()), [parser.get_error(number).desc() for number in range(parser.num_errors)]
    width = network.get_input(0).shape[1]
    profile, config = builder.create_optimization_profile(), builder.create_builder_config()
    profile.set_shape("x", (1, width), (2, width), (8, width))
    config.add_optimization_profile(profile)
    return bytes(builder.build_serialized_network(network, config))
