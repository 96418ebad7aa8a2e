"""External data of ONNX models: tensors that lie in files beside the `.onnx` file.

ONNX's specification, "External Data": a tensor names a `location` relative to the model, an `offset` and a `length`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptors.errors import ModelMalformedError, ModelSourceError
from cryptors.frameworks import import_framework
from cryptors.reader import ModelFile

__all__ = ["external_initializers", "external_paths", "inline_external_data"]


def external_paths(model: Path) -> list[str]:
    """Returns the files that an `.onnx` file names, relative to its directory.

    Raises:
        FrameworkMissingError: the package onnx is not installed.
        ModelSourceError: the file is not an ONNX model, or names files outside its directory.
    """
    onnx = import_framework("onnx", "onnx")
    try:
        proto = onnx.load_model(str(model), load_external_data=False)
    except Exception as cause:  # Protobuf's errors share no base that is public.
        raise ModelSourceError(f"{str(model)!r} is not an ONNX model") from cause
    paths = {_external(tensor)["location"] for tensor in _tensors(proto) if _is_external(tensor)}
    for path in paths:
        if path.startswith("/") or ".." in path.split("/"):
            raise ModelSourceError(f"the model's external data {path!r} lies outside the model's directory")
    return sorted(path.removeprefix("./") for path in paths)


def inline_external_data(data: bytes, files: dict[str, ModelFile]) -> bytes:
    """Returns an ONNX file with its external data put inside.

    Args:
        data: the `.onnx` file.
        files: the files of the model by the path that tensors name.
    """
    onnx = import_framework("onnx", "onnx")
    proto = onnx.ModelProto.FromString(data)
    for tensor in _tensors(proto):
        if not _is_external(tensor):
            continue
        file, offset, length = _place(tensor, files)
        file.seek(offset)
        tensor.raw_data = file.read(length)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    serialized: bytes = proto.SerializeToString()
    return serialized


def external_initializers(
    onnxruntime: Any, data: bytes, buffers: dict[str, memoryview], min_bytes: int
) -> tuple[list[str], list[Any]]:
    """Returns the names and values of initializers of at least `min_bytes` bytes, as views over the buffers.

    Args:
        onnxruntime: the module.
        data: the `.onnx` file.
        buffers: the content of external files by the path that tensors name.
        min_bytes: smaller ones are left out.
    """
    onnx = import_framework("onnx", "onnx")
    numpy = import_framework("numpy", "onnx")
    names, values = [], []
    for tensor in onnx.ModelProto.FromString(data).graph.initializer:
        if not _is_external(tensor) or _external(tensor).get("location", "").removeprefix("./") not in buffers:
            continue
        view, offset, length = _place(tensor, buffers)
        if length < min_bytes:
            continue
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        array = numpy.frombuffer(view[offset : offset + length], dtype).reshape(tuple(tensor.dims))
        names.append(tensor.name)
        values.append(onnxruntime.OrtValue.ortvalue_from_numpy(array))
    return names, values


def _place(tensor: Any, files: dict[str, Any]) -> tuple[Any, int, int]:
    """Returns the file of a tensor, its offset and its length, checked against the file's size."""
    members = _external(tensor)
    file = files.get(members.get("location", "").removeprefix("./"))
    try:
        if file is None:
            raise ValueError("no such file")
        size = file.size if isinstance(file, ModelFile) else len(file)
        offset = int(members.get("offset", "0"))
        length = int(members.get("length", str(size - offset)))
        if not 0 <= offset <= offset + length <= size:
            raise ValueError("outside the file")
    except ValueError as cause:
        raise ModelMalformedError(f"the tensor {tensor.name[:200]!r} names external data that is not there") from cause
    return file, offset, length


def _is_external(tensor: Any) -> bool:
    return bool(tensor.data_location == 1)  # TensorProto.EXTERNAL


def _external(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _tensors(proto: Any) -> Iterator[Any]:
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from _graph_tensors(attribute.g)
            for graph in attribute.graphs:
                yield from _graph_tensors(graph)
