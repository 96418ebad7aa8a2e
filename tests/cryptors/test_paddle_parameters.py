"""The check of a Paddle program's parameters: whatever is wrong with the files, it says so in an error of ours."""

import io
from pathlib import Path

import pytest

from cryptors.errors import ModelSourceError
from cryptors.paddle_parameters import check_parameters, stored_elements
from cryptors.paddle_program import program_parameters
from tests.cryptors.paddle_setting import PADDLE_FORMATS

both = pytest.mark.parametrize("name", PADDLE_FORMATS)

ONE_TENSOR = bytes(16) + b"\x04\0\0\0" + b"\x08\x05\x10\x02" + bytes(8)
"""Two 32-bit numbers: versions and levels of details, the length of the description, the description, the numbers."""


@pytest.fixture
def model(paddle_written: Path, tmp_path: Path, name: str) -> Path:
    """A program that the test may change, with its parameters beside it."""
    folder = paddle_written / name.partition(".")[2]
    for file in (name, "m.pdiparams"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    return tmp_path / name


@both
def test_what_paddle_writes(model: Path) -> None:
    found = [parameter.elements for parameter in program_parameters(model.read_bytes())]
    assert found == [4, 16, 3, 12]
    check_parameters(model, model.with_suffix(".pdiparams"))
    with pytest.raises(ModelSourceError, match="missing"):
        check_parameters(model, None)


@both
def test_parameters_cut_anywhere(model: Path) -> None:
    parameters = model.with_suffix(".pdiparams")
    data = parameters.read_bytes()
    for length in range(len(data)):
        parameters.write_bytes(data[:length])
        with pytest.raises(ModelSourceError):
            check_parameters(model, parameters)


@both
def test_every_changed_byte_of_the_parameters(model: Path) -> None:
    """Changed numbers are other numbers; whatever else is changed is an error, and no other one than ours."""
    parameters = model.with_suffix(".pdiparams")
    data = parameters.read_bytes()
    accepted = 0
    for place in range(len(data)):
        parameters.write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        try:
            check_parameters(model, parameters)
            accepted += 1
        except ModelSourceError:
            pass
    assert accepted < len(data)
    assert accepted >= (4 + 16 + 3 + 12) * 4


@both
def test_changed_bytes_of_the_program(model: Path) -> None:
    data = model.read_bytes()
    for place in range(0, len(data), 11):
        model.write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        try:
            check_parameters(model, model.with_suffix(".pdiparams"))
        except ModelSourceError:
            pass


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"{}",
        b"[]",
        b'{"program": {"regions": []}}',
        b'{"program": {"regions": [{"blocks": [{"ops": [{}]}]}]}}',
        b'{"program": {"regions": [{"blocks": [{"ops": [{"#": "p", "OA": [1], "A": [0, 1, 1, "\\ud800"]}]}]}]}}',
        b'{"a":' * 100_000,
        b"\x0a\xff",
        b"\x0a\x02\x1a\x00",
        b"\xff" * 20,
    ],
)
def test_what_is_no_program(program: bytes) -> None:
    with pytest.raises(ValueError):
        program_parameters(program)


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (0, b"\1"),
        (4, b"\x7f"),  # Paddle would read that many levels of details, for hours.
        (12, b"\1"),
        (16, b"\xff\xff\xff\xff"),
        (16, b"\xff\xff\xff\x7f"),
        (21, b"\x63"),
        (21, b"\x07"),
        (23, b"\xff"),
    ],
)
def test_what_is_no_tensor(place: int, change: bytes) -> None:
    assert stored_elements(io.BytesIO(ONE_TENSOR), len(ONE_TENSOR)) == [2]
    damaged = ONE_TENSOR[:place] + change + ONE_TENSOR[place + len(change) :]
    with pytest.raises(ValueError):
        stored_elements(io.BytesIO(damaged), len(damaged))


def test_shapes_that_no_memory_holds() -> None:
    shape = (b"\x10" + b"\xff" * 8 + b"\x7f") * 3
    tensor = bytes(16) + (2 + len(shape)).to_bytes(4, "little") + b"\x08\x05" + shape
    with pytest.raises(ValueError, match="cut short"):
        stored_elements(io.BytesIO(tensor), len(tensor))
