"""External data of ONNX models: tensors whose values lie in files beside the `.onnx` file.

ONNX's specification, "External Data": a tensor names a `location` relative to the model, an `offset` and a `length`.
"""

from collections.abc import Mapping
from pathlib import Path

from cryptors.errors import ModelMalformedError, ModelSourceError
from cryptors.onnx_tensors import OnnxTensors, Tensor, values_inside
from cryptors.pieces import Part, joined
from cryptors.protobuf_fields import FileBytes
from cryptors.reader import ModelFile
from licensing.files import unreadable

__all__ = ["external_paths", "external_places", "with_values_inside"]


def external_paths(model: Path) -> list[str]:
    """Returns the files that an `.onnx` file names, relative to its directory.

    Raises:
        FileAccessError: it cannot be read.
        ModelSourceError: the file is not an ONNX model, or names files outside its directory.
    """
    try:
        with open(model, "rb") as file:
            found = OnnxTensors(FileBytes(file.fileno())).found
    except OSError as cause:
        raise unreadable(model, "model file", cause) from cause
    except ValueError as cause:
        raise ModelSourceError(f"{str(model)!r} is not an ONNX model") from cause
    paths = {_location(tensor) for tensor in found if tensor.is_external}
    for path in paths:
        if not path:
            raise ModelSourceError(f"a tensor of {str(model)!r} has external data without a location")
        if path.startswith("/") or ".." in path.split("/"):
            raise ModelSourceError(f"the model's external data {path!r} lies outside the model's directory")
    return sorted(paths)


def external_places(tensors: OnnxTensors, sizes: Mapping[str, int]) -> dict[int, Part]:
    """Returns where the values of tensors lie that name other files, by the tensors' starts.

    Args:
        tensors: the model's.
        sizes: how long each of the model's other files is, by the path that tensors name.

    Raises:
        ModelMalformedError: a tensor names data that is not there. ONNX Runtime would look for it in the working
            directory, where anybody could have put it.
    """
    return {tensor.start: _place(tensor, sizes) for tensor in tensors.found if tensor.is_external}


def with_values_inside(data: bytes, files: Mapping[str, ModelFile]) -> bytes:
    """Returns an `.onnx` file that holds all values itself.

    Args:
        data: the `.onnx` file of a model.
        files: its other files, by the path that tensors name.

    Raises:
        ModelMalformedError: a tensor names data that is not there.
        ValueError: it is no ONNX model.
    """
    tensors = OnnxTensors(data)
    places = external_places(tensors, {path: file.size for path, file in files.items()})

    def read_into(part: Part, target: memoryview) -> None:
        if part.path:
            files[part.path].read_at(part.offset, target)
        else:
            target[:] = memoryview(data)[part.offset : part.offset + part.length]

    return joined(tensors.rewritten({start: values_inside(place) for start, place in places.items()}), read_into)


def _place(tensor: Tensor, sizes: Mapping[str, int]) -> Part:
    path = _location(tensor)
    try:
        if path not in sizes:
            raise ValueError("no such file")
        offset = int(tensor.members.get("offset", "0"))
        length = int(tensor.members.get("length", str(sizes[path] - offset)))
        if not 0 <= offset <= offset + length <= sizes[path]:
            raise ValueError("outside the file")
    except ValueError as cause:
        name = tensor.name[:200].decode(errors="replace")
        raise ModelMalformedError(f"the tensor {name!r} names external data that is not there") from cause
    return Part(path, offset, length)


def _location(tensor: Tensor) -> str:
    return tensor.members.get("location", "").removeprefix("./")
