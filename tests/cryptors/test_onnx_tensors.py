"""The tensors of ONNX models: all are found, each where it is, and models are put together again without a change."""

import random
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cryptors.onnx_tensors import MESSAGES, OnnxTensors, values_elsewhere, values_inside
from cryptors.pieces import Part, Piece, joined

SMALL: Any = np.arange(6, dtype=np.float32).reshape(2, 3)


def tensor(name: str) -> Any:
    return numpy_helper.from_array(SMALL, name)


def graph(name: str, nodes: list[Any], *initializers: str) -> Any:
    value = helper.make_tensor_value_info("y", 1, [2, 3])
    return helper.make_graph(nodes, name, [], [value], [tensor(each) for each in initializers])


def nested_model() -> Any:
    """Returns a model with tensors at every place where they can be."""
    sparse = onnx.SparseTensorProto(values=tensor("sparse values"), indices=tensor("sparse indices"), dims=[9])
    inner = graph("inner", [helper.make_node("Add", ["captured", "own"], ["y"])], "own", "unused inside")
    nodes = [
        helper.make_node("Constant", [], ["c"], value=tensor("constant")),
        helper.make_node("Constant", [], ["s"], sparse_value=sparse),
        helper.make_node("If", ["condition"], ["y"], then_branch=inner, else_branch=inner),
        helper.make_node("Odd", ["x"], ["z"], several=[tensor("first"), tensor("second")], graphs=[inner, inner]),
    ]
    model = helper.make_model(graph("main", nodes, "captured", "condition", "unused", "y"))
    model.graph.sparse_initializer.add().CopyFrom(sparse)
    local = helper.make_node("Constant", ["in function"], ["f"], value=tensor("of a function"))
    model.functions.add(name="f").node.append(local)
    model.training_info.add().initialization.CopyFrom(graph("training", [], "of training"))
    return model


def test_numbers_are_those_of_the_package_onnx() -> None:
    for message, inner in MESSAGES.items():
        described = getattr(onnx, message).DESCRIPTOR.fields
        holding = {each.number: each.message_type.name for each in described if each.message_type}
        assert inner == {number: name for number, name in holding.items() if name in MESSAGES or name == "TensorProto"}


def test_every_tensor_is_found() -> None:
    data = nested_model().SerializeToString()
    found = OnnxTensors(data).found
    assert len(found) == data.count(SMALL.tobytes())
    for each in found:
        assert each.raw is not None
        assert data[each.raw.offset :][: each.raw.length] == SMALL.tobytes()
        assert (each.data_type, each.dims) == (TensorProto.FLOAT, [2, 3])
    assert {each.name for each in found if each.is_initializer} == {b"captured", b"condition", b"unused", b"y"}


def test_initializers_that_are_used() -> None:
    """By nodes, also inside of other nodes, or as outputs; ONNX Runtime drops all others."""
    used = OnnxTensors(nested_model().SerializeToString()).unique_initializers()
    assert [each.name for each in used] == [b"captured", b"condition", b"y"]


@pytest.mark.parametrize("name", ["captured", "own", "constant", "sparse values"])
def test_names_that_two_tensors_have(name: str) -> None:
    model = nested_model()
    model.graph.initializer.append(tensor(name))
    unique = OnnxTensors(model.SerializeToString()).unique_initializers()
    assert name.encode() not in [each.name for each in unique]


def test_values_elsewhere_and_back() -> None:
    model = nested_model()
    model.graph.initializer[0].dims[:] = [3, 2]
    data = model.SerializeToString()

    def read_from(file: bytes) -> Any:
        def read_into(part: Part, target: memoryview) -> None:
            source = data if part.path else file
            target[:] = memoryview(source)[part.offset : part.offset + part.length]

        return read_into

    tensors = OnnxTensors(data)
    places = {each.start: each.raw for each in tensors.found if each.raw}
    elsewhere: dict[int, list[Piece]] = {start: values_elsewhere("file", raw.length) for start, raw in places.items()}
    without = joined(tensors.rewritten(elsewhere), read_from(data))
    assert SMALL.tobytes() not in without
    assert {
        (entry.key, entry.value)
        for each in onnx.ModelProto.FromString(without).graph.initializer
        for entry in each.external_data
        if each.data_location == TensorProto.EXTERNAL
    } == {("location", "file"), ("offset", "0"), ("length", "24")}
    external = OnnxTensors(without)
    assert all(each.is_external and each.members["location"] == "file" for each in external.found)
    sources = [Part("file", place.offset, place.length) for place in places.values()]
    inside = {each.start: values_inside(source) for each, source in zip(external.found, sources, strict=True)}
    again = onnx.ModelProto.FromString(joined(external.rewritten(inside), read_from(without)))
    for each in [again, model]:  # Written inside explicitly, or because it is the default.
        for initializer in each.graph.initializer:
            initializer.ClearField("data_location")
    assert again.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_without_changes_the_file_stays_as_it_is() -> None:
    data = nested_model().SerializeToString()
    assert OnnxTensors(data).rewritten({}) == [Part("", 0, len(data))]


def test_messages_that_hold_each_other_too_deeply() -> None:
    inner = b""
    for _ in range(5000):
        for number in (11, 5, 1):  # A graph in an attribute in a node.
            inner = bytes([number << 3 | 2]) + _length(len(inner)) + inner
    with pytest.raises(ValueError, match="too deeply"):
        OnnxTensors(b"\x3a" + _length(len(inner)) + inner)


def _length(number: int) -> bytes:
    encoded = b""
    while number >= 128:
        encoded, number = encoded + bytes([number % 128 + 128]), number // 128
    return encoded + bytes([number])


def test_damaged_models_are_refused_or_read() -> None:
    """And nothing else happens, whatever bytes there are."""
    chance, model = random.Random(1), nested_model().SerializeToString()
    refused = 0
    for _ in range(2000):
        data = bytearray(model)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            tensors = OnnxTensors(bytes(data[: chance.randrange(len(data)) + 1]))
        except ValueError:
            refused += 1
        else:
            assert all(each.raw is None or each.raw.offset + each.raw.length <= len(data) for each in tensors.found)
    assert 100 < refused < 2000
