"""Real models, locked and loaded, compute what their plaintext computes to the last bit, in every type."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cryptors import CryptorFactory
from licensing.content_key import new_content_key
from tests.real_models.kind import Kind, forget
from tests.real_models.kinds import KINDS
from tests.real_models.minilm import MINILM

pytestmark = [
    pytest.mark.slow,
    # PyTorch deprecates TorchScript, which users have all the same.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    # Keras writes its weights like this itself.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    # Paddle looks where its own layer's tensors are, while it makes a program of them.
    pytest.mark.filterwarnings("ignore:Tensor do not have 'place':UserWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def memory() -> Iterator[None]:
    """Gives the models back when the last test is done."""
    yield
    forget()


@pytest.mark.usefixtures("memory_only")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_locked_model_computes_what_its_plaintext_computes(kind: Kind, tmp_path: Path) -> None:
    cryptor = CryptorFactory.instance(kind.model_type)
    plaintext, locked, content_key = tmp_path / "plaintext", tmp_path / "model.locked", new_content_key()
    plaintext.mkdir()
    made = kind.make(plaintext)
    expected = kind.run(kind.read(made))
    cryptor.encrypt(made, content_key, locked)
    shutil.rmtree(plaintext)

    loaded = kind.load(kind, locked, content_key)
    found = kind.run(loaded)
    if kind.only_bytes:
        assert found == expected
        return
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()
    # The framework computes the real model, and so does `weightlock run`.
    np.testing.assert_allclose(found, kind.model.reference, rtol=0, atol=kind.agrees)
    if kind.inputs is not None:
        (answer,) = cryptor.infer(loaded, kind.inputs(), "cpu").values()
        np.testing.assert_allclose(answer, kind.model.reference, rtol=0, atol=kind.agrees)


def test_the_sentence_encoder_is_the_trained_one() -> None:
    """Sentences of one meaning lie close together: of weights that were not trained, none would know."""
    first, second, third = MINILM.reference
    assert first @ second > first @ third + 0.3
