"""What the tests of Paddle's cryptors share: small models in each of Paddle's forms. Only tests that run import it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptors import CryptorFactory
from licensing.errors import WeightlockError
from tests import paddle_models
from tests.cryptors.containers import CONTENT_KEY

__all__ = ["PADDLE", "PADDLE_FORMATS", "WEIGHTS", "X", "assert_refused", "lock", "outputs", "paddle_written"]

PADDLE = CryptorFactory.instance("paddle")
PADDLE_FORMATS = ("m.json", "m.pdmodel")
"""The names of the programs in the folder `paddle_written`."""

_numbers = np.random.default_rng(1)
X: Any = _numbers.standard_normal((2, 4)).astype(np.float32)
WEIGHTS: dict[str, Any] = {
    name: _numbers.standard_normal(shape).astype(np.float32)
    for name, shape in {"first.weight": (4, 4), "first.bias": (4,), "last.weight": (3, 4), "last.bias": (3,)}.items()
}
"""As those of the network that tests/contract tries."""


@pytest.fixture(scope="session")
def paddle_written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program in each format, each with its parameters, and a state dict; nothing changes them."""
    folder = tmp_path_factory.mktemp("paddle")
    for name, write in (
        ("json", paddle_models.write_json),
        ("pdmodel", paddle_models.write_pdmodel),
        ("pdparams", paddle_models.write_state_dict),
    ):
        (folder / name).mkdir()
        write(folder / name / f"m.{name}", WEIGHTS)
    return folder


def lock(model: Path, cryptor: Any = PADDLE) -> Path:
    """Locks a model and returns the locked one."""
    locked = model.parent / f"{model.name}.locked"
    cryptor.encrypt(model, CONTENT_KEY, locked)
    return locked


def outputs(predictor: Any, x: Any = X) -> Any:
    """Returns a predictor's only output."""
    predictor.get_input_handle("x").copy_from_cpu(x)
    predictor.run()
    (name,) = predictor.get_output_names()
    return predictor.get_output_handle(name).copy_to_cpu()


def assert_refused(reason: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> WeightlockError:
    """Asserts that a call is refused for this reason, and returns the error."""
    with pytest.raises(WeightlockError) as caught:
        call(*arguments, **options)
    assert caught.value.reason == reason, caught.value
    assert "weightlock-" not in caught.value.message, "the sentence names a temporary directory"
    return caught.value
