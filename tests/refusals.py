"""What every refusal is asked: that it comes, and for which reason."""

from collections.abc import Callable
from typing import Any

import pytest

from licensing.errors import WeightlockError

__all__ = ["assert_refused"]


def assert_refused(reason: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> WeightlockError:
    """Asserts that a call is refused for this reason, and returns the error."""
    with pytest.raises(WeightlockError) as caught:
        call(*arguments, **options)
    assert caught.value.reason == reason, caught.value
    return caught.value
