"""Large values of ONNX models, handed to ONNX Runtime beside the model: it copies them once, instead of three times."""

import contextlib
import math
from collections.abc import Mapping
from typing import Any

from cryptors.frameworks import import_framework
from cryptors.memory import PlaintextMemory
from cryptors.onnx_external_data import external_places
from cryptors.onnx_tensors import OnnxTensors, Tensor, values_elsewhere, values_inside
from cryptors.pieces import Part, joined
from licensing.errors import UsageError

__all__ = ["hand_over_values"]

_BYTES = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20), 1),  # (U)INT8, BOOL, FLOAT8…
    **dict.fromkeys((4, 5, 10, 16), 2),  # (U)INT16, FLOAT16, BFLOAT16
    **dict.fromkeys((1, 6, 12), 4),  # FLOAT, (U)INT32
    **dict.fromkeys((7, 11, 13), 8),  # DOUBLE, (U)INT64
}
"""How many bytes a number of each type has, by ONNX's number of the type."""

_OF_SHAPES = (6, 7)
"""INT32 and INT64. ONNX Runtime computes shapes from them while it reads a model, and has no values yet that are handed
to it: what the `.onnx` file holds of them stays there."""

_PACKED = (21, 22, 23, 25, 26)
"""The types of which several numbers share a byte: (U)INT4, FLOAT4E2M1, (U)INT2."""

_MAX_DIMENSIONS = 32


class _Handed:
    """Tensors that are handed over, each with the place where its values lie."""

    def __init__(self, tensors: OnnxTensors, places: Mapping[int, Part], min_bytes: int) -> None:
        self.whole: list[tuple[Tensor, Part]] = []
        self.packed: list[tuple[Tensor, Part]] = []
        for tensor in tensors.unique_initializers():
            place = places.get(tensor.start, tensor.raw)
            if place is None or place.length < min_bytes or len(tensor.dims) > _MAX_DIMENSIONS:
                continue
            if tensor.data_type in _OF_SHAPES and not tensor.is_external:
                continue
            if place.length == math.prod(tensor.dims) * _BYTES.get(tensor.data_type, 0):
                self.whole.append((tensor, place))
            elif tensor.is_external and tensor.data_type in _PACKED:
                self.packed.append((tensor, place))


def hand_over_values(
    onnxruntime: Any, options: Any, files: Mapping[str, memoryview], min_bytes: int, stack: contextlib.ExitStack
) -> bytes:
    """Names large initializers and their values in a session's options, and returns the rest of the model.

    Args:
        onnxruntime: the module.
        options: of the session that is made next.
        files: all files of the model by the path that tensors name, and "" for the `.onnx` file, which is changed.
            ONNX Runtime reads their memory until the session is made.
        min_bytes: how large values are that are handed over; others are in what this returns.
        stack: closes memory that is needed until then.

    Raises:
        ModelMalformedError: a tensor names data that is not there.
        ValueError: it is no ONNX model.
        UsageError: the options were used for a model before.
    """
    tensors = OnnxTensors(files[""])
    places = external_places(tensors, {path: len(view) for path, view in files.items() if path})
    handed = _Handed(tensors, places, min_bytes)
    # ONNX Runtime 1.23, the last one for Python 3.10, has no files in memory.
    add_files = getattr(options, "add_external_initializers_from_files_in_memory", None)
    packed = handed.packed if add_files else []
    changes = {start: values_inside(place) for start, place in places.items()}
    locations = [f"values {number}" for number in range(len(packed))]
    changes |= {tensor.start: values_elsewhere("values", place.length) for tensor, place in handed.whole}
    changes |= {
        tensor.start: values_elsewhere(location, place.length)
        for location, (tensor, place) in zip(locations, packed, strict=True)
    }
    data = joined(tensors.rewritten(changes), lambda part, target: _copy(files, part, target))
    names = [tensor.name.decode() for tensor, _ in handed.whole]
    values = [_value(onnxruntime, tensor, _aligned(files, tensor, place, stack)) for tensor, place in handed.whole]
    try:
        if add_files and packed:
            views = [_view(files, place) for _, place in packed]
            add_files(locations, views, [len(view) for view in views])
        if names:
            options.add_external_initializers(names, values)
    except RuntimeError as cause:
        if "already been added" not in str(cause):
            raise
        raise UsageError(
            "these session options were used for a model with external data already", "make new ones for each model"
        ) from cause
    return data


def _view(files: Mapping[str, memoryview], part: Part) -> memoryview:
    return files[part.path][part.offset : part.offset + part.length]


def _copy(files: Mapping[str, memoryview], part: Part, target: memoryview) -> None:
    target[:] = _view(files, part)


def _aligned(files: Mapping[str, memoryview], tensor: Tensor, place: Part, stack: contextlib.ExitStack) -> memoryview:
    """Returns values where numbers of their width may lie."""
    excess = place.offset % _BYTES[tensor.data_type]
    if not excess:
        return _view(files, place)
    if place.path:
        memory = stack.enter_context(PlaintextMemory(place.length))
        memory.view[:] = _view(files, place)
        return memory.view
    # In the .onnx file, what stands before large values are at least eight bytes of the tensor itself, which have been
    # copied: the keys and lengths of the tensor and of its values.
    lower = Part(place.path, place.offset - excess, place.length)
    _view(files, lower)[:] = _view(files, place)
    return _view(files, lower)


def _value(onnxruntime: Any, tensor: Tensor, view: memoryview) -> Any:
    numpy = import_framework("numpy", "onnx")
    # Plain integers of the same width stand for types that NumPy does not have, such as bfloat16.
    array = numpy.frombuffer(view, f"u{_BYTES[tensor.data_type]}").reshape(tensor.dims)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, tensor.data_type)
