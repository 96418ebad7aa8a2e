"""The tensors of an ONNX model: what each says of itself, where its values lie, and putting them elsewhere.

Nothing is decoded but names, types and places: a model of 2 GB is read as quickly as its graph, and is not copied. The
numbers below are those of onnx.proto, which never change; a test compares them with those of the package onnx.
"""

import bisect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptors.pieces import Part, Piece, length_of
from cryptors.protobuf_fields import (
    LENGTH_DELIMITED,
    VARINT,
    Bytes,
    Field,
    FieldsError,
    encode_beginning,
    encode_field,
    fields,
    packed_numbers,
)

__all__ = ["MESSAGES", "OnnxTensors", "Tensor", "values_elsewhere", "values_inside"]

MESSAGES: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        **{5: "TensorProto", 10: "TensorProto", 6: "GraphProto", 11: "GraphProto"},
        **{22: "SparseTensorProto", 23: "SparseTensorProto"},
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}
"""The messages in which tensors can lie, and the fields by which they hold each other."""

MODEL_GRAPH = 7
GRAPH_INPUT, GRAPH_OUTPUT = 11, 12
NODE_INPUT = 1
VALUE_NAME = 1
DIMS, DATA_TYPE, NAME, RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 1, 2, 8, 9, 13, 14
ENTRY_KEY, ENTRY_VALUE = 1, 2

EXTERNAL = 1
"""The data location of tensors whose values lie in another file."""

MAX_DIMS_BYTES = 1024
"""More than any runtime's tensors have dimensions."""

MAX_DEPTH = 100
"""How deeply messages may hold each other; ONNX Runtime reads no deeper."""


@dataclass
class Tensor:
    """What a tensor says of itself.

    Attributes:
        start: where it begins in the `.onnx` file.
        is_initializer: whether it belongs to the model's graph itself, and not to a node or to a graph inside of it.
        name, data_type, dims: as it says.
        raw: where its values lie in the `.onnx` file, if they lie there as plain bytes.
        is_external: whether they lie in another file.
        members: what it says of that: location, offset, length.
    """

    start: int
    is_initializer: bool
    name: bytes = b""
    data_type: int = 0
    dims: list[int] = field(default_factory=list)
    raw: Part | None = None
    is_external: bool = False
    members: dict[str, str] = field(default_factory=dict)


class OnnxTensors:
    """All tensors of a model.

    Args:
        data: the `.onnx` file.

    Attributes:
        found: the tensors.

    Raises:
        ValueError: it is no ONNX model.
    """

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._used: set[bytes] = set()
        self.found: list[Tensor] = []
        self._scan("ModelProto", 0, len(data), 0, in_graph=False)

    def unique_initializers(self) -> list[Tensor]:
        """Returns the initializers of the model's graph that it uses, and whose names no other tensor has."""
        counts = Counter(tensor.name for tensor in self.found)
        used = (tensor for tensor in self.found if tensor.is_initializer and tensor.name in self._used)
        return [tensor for tensor in used if counts[tensor.name] == 1]

    def rewritten(self, changes: Mapping[int, list[Piece]]) -> list[Piece]:
        """Returns the `.onnx` file with the values of some tensors at other places.

        Args:
            changes: by the start of each such tensor, what `values_elsewhere` or `values_inside` gives for it.
        """
        return self._rewritten("ModelProto", 0, len(self._data), changes, sorted(changes))

    def _scan(self, message: str, start: int, end: int, depth: int, in_graph: bool) -> None:
        if depth > MAX_DEPTH:
            raise FieldsError("messages that hold each other too deeply")
        is_graph = in_graph and depth == 1
        for each in fields(self._data, start, end):
            if each.wire_type != LENGTH_DELIMITED:
                continue
            inner = MESSAGES[message].get(each.number)
            if inner == "TensorProto":
                self.found.append(self._tensor(each, is_graph))
            elif inner is not None:
                begins = message == "ModelProto" and each.number == MODEL_GRAPH
                self._scan(inner, each.start, each.end, depth + 1, in_graph or begins)
            elif in_graph and message == "NodeProto" and each.number == NODE_INPUT:
                self._used.add(self._bytes(each))
            elif is_graph and each.number in (GRAPH_INPUT, GRAPH_OUTPUT):
                names = fields(self._data, each.start, each.end)
                self._used.update(self._bytes(name) for name in names if name.number == VALUE_NAME)

    def _tensor(self, message: Field, is_initializer: bool) -> Tensor:
        tensor = Tensor(message.start, is_initializer)
        for each in fields(self._data, message.start, message.end):
            if each.wire_type == VARINT:
                if each.number == DIMS:
                    tensor.dims.append(each.value)
                elif each.number == DATA_TYPE:
                    tensor.data_type = each.value
                elif each.number == DATA_LOCATION:
                    tensor.is_external = each.value == EXTERNAL
            elif each.wire_type == LENGTH_DELIMITED:
                if each.number == DIMS:
                    if each.end - each.start > MAX_DIMS_BYTES:
                        raise FieldsError("a tensor of too many dimensions")
                    tensor.dims += packed_numbers(self._data, each.start, each.end)
                elif each.number == NAME:
                    tensor.name = self._bytes(each)
                elif each.number == RAW_DATA:
                    tensor.raw = Part("", each.start, each.end - each.start)
                elif each.number == EXTERNAL_DATA:
                    entry = {pair.number: self._bytes(pair) for pair in fields(self._data, each.start, each.end)}
                    tensor.members[entry.get(ENTRY_KEY, b"").decode()] = entry.get(ENTRY_VALUE, b"").decode()
        return tensor

    def _rewritten(
        self, message: str, start: int, end: int, changes: Mapping[int, list[Piece]], starts: list[int]
    ) -> list[Piece]:
        pieces: list[Piece] = []
        copied = start
        for each in fields(self._data, start, end):
            inner = MESSAGES[message].get(each.number) if each.wire_type == LENGTH_DELIMITED else None
            if inner is None or bisect.bisect_left(starts, each.start) == bisect.bisect_left(starts, each.end):
                continue
            if inner == "TensorProto":
                content = [*self._without_values(each), *changes[each.start]]
            else:
                content = self._rewritten(inner, each.start, each.end, changes, starts)
            pieces += [
                Part("", copied, each.begin - copied),
                encode_beginning(each.number, length_of(content)),
                *content,
            ]
            copied = each.end
        return [*pieces, Part("", copied, end - copied)]

    def _without_values(self, message: Field) -> list[Piece]:
        kept = (
            each
            for each in fields(self._data, message.start, message.end)
            if each.number not in (RAW_DATA, EXTERNAL_DATA, DATA_LOCATION)
        )
        return [Part("", each.begin, each.end - each.begin) for each in kept]

    def _bytes(self, each: Field) -> bytes:
        return bytes(self._data[each.start : each.end])


def values_elsewhere(location: str, length: int) -> list[Piece]:
    """Returns the fields of a tensor whose values are the beginning of another file."""
    members = {"location": location, "offset": "0", "length": str(length)}
    entries = (
        encode_field(ENTRY_KEY, key.encode()) + encode_field(ENTRY_VALUE, value.encode())
        for key, value in members.items()
    )
    return [b"".join(encode_field(EXTERNAL_DATA, entry) for entry in entries) + encode_field(DATA_LOCATION, EXTERNAL)]


def values_inside(place: Part) -> list[Piece]:
    """Returns the fields of a tensor that holds its values itself, which are copied from a place in another file."""
    return [encode_beginning(RAW_DATA, place.length), place]
