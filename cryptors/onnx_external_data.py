"""External data of ONNX models: tensors that lie in files beside the `.onnx` file.

ONNX's specification, "External Data": a tensor names a `location` relative to the model, an `offset` and a `length`.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptors.errors import ModelMalformedError, ModelSourceError
from cryptors.frameworks import import_framework
from cryptors.reader import ModelFile

__all__ = ["ExternalData", "external_paths"]


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
    paths = {_location(tensor) for tensor in _tensors(proto) if _is_external(tensor)}
    for path in paths:
        if not path:
            raise ModelSourceError(f"a tensor of {str(model)!r} has external data without a location")
        if path.startswith("/") or ".." in path.split("/"):
            raise ModelSourceError(f"the model's external data {path!r} lies outside the model's directory")
    return sorted(paths)


class ExternalData:
    """An `.onnx` file together with the files that its tensors name.

    Args:
        data: the `.onnx` file.
        files: the files by the path that tensors name; open, or in memory.

    Raises:
        FrameworkMissingError: the package onnx is not installed.
        ModelMalformedError: a tensor names data that is not in these files. ONNX Runtime would look for it in the
            working directory, where anybody could have put it.
    """

    def __init__(self, data: bytes, files: Mapping[str, ModelFile | memoryview]) -> None:
        self._onnx = import_framework("onnx", "onnx")
        self._data = data
        self._files = files
        self._proto = self._onnx.ModelProto.FromString(data)
        self._changed = False
        for tensor in _tensors(self._proto):
            if _is_external(tensor):
                _place(tensor, files)
                self._name_plainly(tensor)

    def inline(self) -> bytes:
        """Returns an `.onnx` file with all data inside."""
        return self._inline(_tensors(self._proto))

    def inline_nested(self) -> bytes:
        """Returns an `.onnx` file that names external data in its graph's initializers alone, and no empty data.

        ONNX Runtime does not look among files in memory for any other tensor: those of subgraphs, such as the
        branches of an If, and those of attributes. Nor does it take empty files.
        """
        return self._inline(itertools.chain(_nested_tensors(self._proto), self._empty_initializers()))

    def inline_all_but(self, names: Iterable[str]) -> bytes:
        """Returns an `.onnx` file that names external data in these initializers alone."""
        kept = set(names)
        initializers = (tensor for tensor in self._proto.graph.initializer if tensor.name not in kept)
        return self._inline(itertools.chain(_nested_tensors(self._proto), initializers))

    def large_initializers(self, onnxruntime: Any, min_bytes: int) -> tuple[list[str], list[Any]]:
        """Returns the names and values of initializers of at least `min_bytes` bytes, as views over the files."""
        numpy = import_framework("numpy", "onnx")
        names, values = [], []
        for tensor in self._proto.graph.initializer:
            if not _is_external(tensor):
                continue
            view, offset, length = _place(tensor, self._files)
            width = self._onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            # Types of less than a byte are packed: their tensors are shorter, and stay where they are.
            if length >= min_bytes and length == math.prod(tensor.dims) * width:
                # Plain integers of the same width stand for types that NumPy does not have, such as bfloat16.
                array = numpy.frombuffer(view[offset : offset + length], f"u{width}").reshape(tuple(tensor.dims))
                names.append(tensor.name)
                values.append(onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, tensor.data_type))
        return names, values

    def _name_plainly(self, tensor: Any) -> None:
        """Writes a location as the files are called here: some versions of ONNX Runtime compare "./a" with "a"."""
        for entry in tensor.external_data:
            if entry.key == "location" and entry.value != _location(tensor):
                entry.value = _location(tensor)
                self._changed = True

    def _empty_initializers(self) -> Iterator[Any]:
        for tensor in self._proto.graph.initializer:
            if _is_external(tensor) and _place(tensor, self._files)[2] == 0:
                yield tensor

    def _inline(self, tensors: Iterable[Any]) -> bytes:
        for tensor in tensors:
            if _is_external(tensor):
                file, offset, length = _place(tensor, self._files)
                tensor.raw_data = _part(file, offset, length)
                del tensor.external_data[:]
                tensor.data_location = self._onnx.TensorProto.DEFAULT
                self._changed = True
        serialized: bytes = self._proto.SerializeToString() if self._changed else self._data
        return serialized


def _part(file: ModelFile | memoryview, offset: int, length: int) -> bytes:
    if isinstance(file, ModelFile):
        file.seek(offset)
        return file.read(length) or b""
    return bytes(file[offset : offset + length])


def _place(tensor: Any, files: Mapping[str, ModelFile | memoryview]) -> tuple[Any, int, int]:
    """Returns the file of a tensor, its offset and its length, checked against the file's size."""
    members = _members(tensor)
    file = files.get(_location(tensor))
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


def _members(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _location(tensor: Any) -> str:
    return _members(tensor).get("location", "").removeprefix("./")


def _tensors(proto: Any) -> Iterator[Any]:
    yield from proto.graph.initializer
    yield from _nested_tensors(proto)


def _nested_tensors(proto: Any) -> Iterator[Any]:
    """Yields all tensors but the graph's initializers."""
    yield from _tensors_beside_initializers(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _tensors_beside_initializers(graph: Any) -> Iterator[Any]:
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _node_tensors(graph.node)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    yield from _tensors_beside_initializers(graph)


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
