"""What a model takes and gives, by name; and arrays of an `.npz` file bound to those names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from licensing.errors import UsageError

__all__ = ["Signature", "TensorSpec", "bind_inputs"]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: as `infer` takes or gives it.
        dtype: as NumPy names it, such as "float32"; None where the model does not say.
        shape: numbers, names of dimensions that may vary, or None for one without a name; None in all where the
            model does not say.
    """

    name: str
    dtype: str | None = None
    shape: tuple[int | str | None, ...] | None = None


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model, in its own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def bind_inputs(inputs: dict[str, Any], wanted: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    """Returns arrays by the names of a model's inputs.

    Args:
        inputs: arrays by name; "arr_0", "arr_1", …, as `numpy.savez` calls unnamed ones, stand for inputs by position.
        wanted: the names of the model's inputs, in its order.
        optional: those that need not be there.

    Raises:
        UsageError: an array has no such input, or an input no array.
    """
    bound = {}
    for name, array in inputs.items():
        number = name.removeprefix("arr_")
        by_position = name not in wanted and number != name and number.isdecimal() and int(number) < len(wanted)
        bound[wanted[int(number)] if by_position else name] = array
    has = f"it has {', '.join(map(repr, wanted)) or 'none'}"
    if unknown := sorted(set(bound) - set(wanted)):
        raise UsageError(f"the model has no input {unknown[0]!r}", has)
    if missing := [name for name in wanted if name not in bound and name not in optional]:
        raise UsageError(f"the model's input {missing[0]!r} is missing", has)
    return bound
