"""A stand-in for a TensorFlow that was built with TensorRT. It only says so: no operation of TF-TRT exists, or runs.

TensorFlow has TensorRT up to 2.17, in its builds for NVIDIA GPUs. What a test shows with this stand-in is what our side
does once TensorFlow has said that it can: the SavedModel is loaded and run as any other. That engines then load and run
is not shown by it.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

__all__ = ["change_saved_model", "tensorrt_enabled", "write_converted", "write_unused_engine"]

SEGMENT = "TRTEngineOp_000_000"
"""How TF-TRT calls its first engine; its assets and functions are called after it."""


@contextlib.contextmanager
def tensorrt_enabled() -> Iterator[None]:
    """Lets TensorFlow say that it was built with TensorRT, and finds TensorRT's libraries."""
    from cryptors.tensorflow_inference import import_tensorflow

    sysconfig = import_tensorflow().sysconfig
    from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils

    said = {**sysconfig.get_build_info(), "is_tensorrt_build": True}
    with (
        mock.patch.object(sysconfig, "get_build_info", return_value=said),
        mock.patch.object(_pywrap_py_utils, "is_tensorrt_enabled", return_value=True),
    ):
        yield


def write_unused_engine(saved_model: Path) -> Path:
    """Adds a function to a SavedModel's graph that is called like the copy of a segment which TF-TRT keeps beside it.

    TensorFlow reads the name, and never the operation of that name, which this function does not use. So the model is
    one of TF-TRT by its graph's text, and loads everywhere.
    """

    return change_saved_model(saved_model, _add_native_segment)


def _add_native_segment(graph: Any) -> None:
    graph.library.function.add().signature.name = f"{SEGMENT}_native_segment"


def write_converted(folder: Path, engine: bytes) -> Path:
    """Writes what TF-TRT's converter writes, as far as the form of its files goes, and returns the directory.

    TensorFlow itself saves the model, with the engine among its assets. Then a node of the operation TRTEngineOp takes
    the place of the multiplication, and a function gives the engine's file to that operation, as TF-TRT does. No
    converter was there to compare with; no TensorFlow can run it.
    """
    from cryptors.tensorflow_inference import import_tensorflow

    tensorflow = import_tensorflow()
    file = folder / f"trt-serialized-engine.{SEGMENT}"
    file.write_bytes(engine)
    network = tensorflow.Module()
    network.engine, network.weight = tensorflow.saved_model.Asset(str(file)), tensorflow.Variable([[2.0], [3.0]])
    network.run = tensorflow.function(
        lambda x: {"y": tensorflow.matmul(x, network.weight)}, [tensorflow.TensorSpec([None, 2], name="x")]
    )
    tensorflow.saved_model.save(network, str(folder / "network"), {"serving_default": network.run})
    file.unlink()
    return change_saved_model(folder / "network", _convert)


def _convert(graph: Any) -> None:
    for function in graph.library.function:
        for node in (node for node in function.node_def if node.op == "MatMul"):
            _replace_node(function, node)
    _add_native_segment(graph)
    initializer = graph.library.function.add()
    initializer.signature.name = "__inference__initializer_1"
    initializer.signature.input_arg.add(name="filename").type = 7  # DT_STRING
    handle = initializer.node_def.add(name="TRTEngineResource", op="CreateTRTResourceHandle")
    handle.attr["resource_name"].s = SEGMENT.encode()
    names = ("TRTEngineResource:resource_handle:0", "filename")
    initializer.node_def.add(name="InitializeTRTResource", op="InitializeTRTResource", input=names)


def _replace_node(function: Any, node: Any) -> None:
    """Puts an engine in the place of a multiplication, with the attributes of TensorFlow 2.17's TRTEngineOp."""
    old, new = f"{node.name}:product:0", f"{SEGMENT}:out_tensor:0"
    for other in function.node_def:
        other.input[:] = [new if name == old else name for name in other.input]
    for name, source in function.ret.items():
        function.ret[name] = new if source == old else source
    node.name, node.op = SEGMENT, "TRTEngineOp"
    node.ClearField("attr")
    node.attr["InT"].list.type[:] = [1, 1]  # DT_FLOAT
    node.attr["OutT"].list.type[:] = [1]
    node.attr["segment_func"].func.name = f"{SEGMENT}_native_segment"
    node.attr["serialized_segment"].s = b""
    node.attr["workspace_size_bytes"].i = 1 << 30
    node.attr["precision_mode"].s = b"FP16"
    node.attr["use_calibration"].b = node.attr["static_engine"].b = False


def change_saved_model(saved_model: Path, change: Callable[[Any], None]) -> Path:
    """Changes the graph of a SavedModel on disk."""
    from cryptors.tensorflow_inference import import_tensorflow

    import_tensorflow()
    from tensorflow.core.protobuf import saved_model_pb2

    file = saved_model / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(content.meta_graphs[0].graph_def)
    file.write_bytes(content.SerializeToString())
    return saved_model
