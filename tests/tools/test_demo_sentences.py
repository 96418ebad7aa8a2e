"""The demo tells equal embeddings from others, and says what it found."""

from typing import Any

import numpy as np
import pytest

from tests.tools.quiet_page import quiet_page
from tools.demo_errors import DemoFailedError
from tools.demo_sentences import compare_embeddings


def _embeddings() -> Any:
    """Six vectors of length 1, of which each two are close together."""
    vectors = np.repeat(np.eye(3, 384, dtype=np.float32), 2, axis=0)
    vectors[1::2, 5] = 0.5
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_equal_embeddings_are_said_to_be_equal() -> None:
    page, text = quiet_page()
    compare_embeddings(page, _embeddings(), _embeddings())
    assert "bit for bit the plaintext model's" in text.getvalue()


def test_rounding_is_reported_as_what_it_is() -> None:
    locked = _embeddings()
    locked[0, 100] = 1e-6
    page, text = quiet_page()
    compare_embeddings(page, _embeddings(), locked)
    assert "to within 1.0e-06, not bit for bit" in " ".join(text.getvalue().split())


@pytest.mark.parametrize("value", [1e-3, float("nan")])
def test_other_embeddings_fail_the_demo(value: float) -> None:
    locked = _embeddings()
    locked[0, 100] = value
    page, _ = quiet_page()
    with pytest.raises(DemoFailedError):
        compare_embeddings(page, _embeddings(), locked)


def test_fewer_embeddings_fail_the_demo() -> None:
    page, _ = quiet_page()
    with pytest.raises(DemoFailedError, match="numbers"):
        compare_embeddings(page, _embeddings(), _embeddings()[:, :100])


def test_senseless_embeddings_fail_the_demo() -> None:
    page, _ = quiet_page()
    with pytest.raises(DemoFailedError, match="makes no sense"):
        compare_embeddings(page, _embeddings()[[0, 2, 1, 3, 4, 5]], _embeddings()[[0, 2, 1, 3, 4, 5]])
