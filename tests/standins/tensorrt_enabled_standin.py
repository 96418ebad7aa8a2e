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
    """Lets TensorFlow say that it was built with TensorRT."""
    from cryptors.tensorflow_inference import import_tensorflow

    sysconfig = import_tensorflow().sysconfig
    said = {**sysconfig.get_build_info(), "is_tensorrt_build": True}
    with mock.patch.object(sysconfig, "get_build_info", return_value=said):
        yield


def write_unused_engine(saved_model: Path) -> Path:
    """Adds a function to a SavedModel's graph that is called like the copy of a segment which TF-TRT keeps beside it.

    TensorFlow reads the name, and never the operation of that name, which this function does not use. So the model is
    one of TF-TRT by its graph's text, and loads everywhere.
    """

    def change(graph: Any) -> None:
        function = graph.library.function.add()
        function.signature.name = f"{SEGMENT}_native_segment"

    return change_saved_model(saved_model, change)


def write_converted(saved_model: Path, engine: bytes) -> Path:
    """Makes a SavedModel into what TF-TRT's converter writes, as far as the form of its files goes.

    A node of the operation TRTEngineOp takes the place of the multiplications, and its engine lies among the assets.
    """

    def change(graph: Any) -> None:
        for function in graph.library.function:
            for node in function.node_def:
                if node.op == "MatMul":
                    node.op = "TRTEngineOp"
                    node.name = SEGMENT
                    node.ClearField("attr")
                    node.attr["serialized_segment"].s = b""
                    node.attr["segment_func"].func.name = f"{SEGMENT}_native_segment"
                    node.attr["static_engine"].b = False
                    node.attr["precision_mode"].s = b"FP16"

    (saved_model / "assets").mkdir(exist_ok=True)
    (saved_model / "assets" / f"trt-serialized-engine.{SEGMENT}").write_bytes(engine)
    return change_saved_model(saved_model, change)


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
