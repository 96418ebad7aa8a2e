"""Fields of protocol buffers, where they are and where they cannot be."""

import os
from pathlib import Path

import pytest
from onnx import StringStringEntryProto, TensorProto

from cryptors.protobuf_fields import FieldsError, FileBytes, encode_field, fields, packed_numbers

LARGEST = 2**64 - 1


def test_fields_are_where_protobuf_writes_them() -> None:
    tensor = TensorProto(name="weight", data_type=1, raw_data=b"values", dims=[2, 300])
    data = tensor.SerializeToString()
    found = list(fields(data, 0, len(data)))
    assert [each.number for each in found] == [1, 1, 2, 8, 9]
    assert [each.value for each in found[:3]] == [2, 300, 1]
    assert [data[each.start : each.end] for each in found[3:]] == [b"weight", b"values"]
    assert [each.begin for each in found] == [0, *(each.end for each in found[:-1])]
    assert found[-1].end == len(data)


def test_what_is_encoded_is_what_protobuf_reads() -> None:
    long = "x" * 300
    entry = StringStringEntryProto.FromString(encode_field(1, b"key") + encode_field(2, long.encode()))
    assert (entry.key, entry.value) == ("key", long)
    assert TensorProto.FromString(encode_field(14, 1)).data_location == TensorProto.EXTERNAL
    assert TensorProto.FromString(encode_field(1, LARGEST)).dims == [-1]


def test_packed_numbers() -> None:
    packed = TensorProto(int64_data=[0, 127, 128, 2**63 - 1]).SerializeToString()
    (field,) = fields(packed, 0, len(packed))
    assert packed_numbers(packed, field.start, field.end) == [0, 127, 128, 2**63 - 1]


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",  # A number that is missing,
        b"\x08\x80",  # that does not end,
        b"\x08" + b"\x80" * 10 + b"\x00",  # or takes more than ten bytes,
        b"\x08" + b"\xff" * 9 + b"\x02",  # or more than 64 bits.
        b"\x0a\x02x",  # Content that is shorter than its length,
        b"\x0a" + b"\xff" * 9 + b"\x01",  # which no memory could hold.
        b"\x0b\x0c",  # A group,
        b"\x0e",  # wire types that do not exist,
        b"\x0f",
        b"\x00\x00",  # and numbers of fields that do not.
        b"\xf8\xff\xff\xff\xff\x01\x00",
        b"\x09" + bytes(7),  # Numbers of fixed width that are cut off.
        b"\x0d" + bytes(3),
    ],
    ids=bytes.hex,
)
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(FieldsError):
        list(fields(data, 0, len(data)))


def test_a_field_ends_where_its_message_ends() -> None:
    """What follows the message is another one's."""
    data = encode_field(1, b"abc") + encode_field(2, b"def")
    with pytest.raises(FieldsError):
        list(fields(data, 0, 4))


def test_file_is_read_where_it_is_looked_at(tmp_path: Path) -> None:
    values = os.urandom(300_000)
    data = encode_field(9, values) + encode_field(8, b"name")
    (tmp_path / "file").write_bytes(data)
    with open(tmp_path / "file", "rb") as file:
        read = FileBytes(file.fileno())
        raw, name = fields(read, 0, len(read))
        assert bytes(read[name.start : name.end]) == b"name"
        assert bytes(read[raw.start : raw.end]) == values
        assert bytes(read[raw.start + 7 : raw.start + 9]) == values[7:9]


def test_file_that_is_cut_off_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(encode_field(9, bytes(200_000)) + encode_field(8, b"name"))
    with open(tmp_path / "file", "rb") as file:
        read = FileBytes(file.fileno())
        os.truncate(tmp_path / "file", 100_000)
        with pytest.raises(FieldsError):
            list(fields(read, 0, len(read)))
