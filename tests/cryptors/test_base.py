"""What a framework makes of a model that cannot be read: whatever it does, the caller hears the true reason."""

import os
from pathlib import Path
from typing import Any

import pytest

from cryptors import Cryptor, ModelType
from cryptors.reader import ModelFile, read_header
from licensing.errors import WeightlockError
from tests.cryptors.containers import CONTENT_KEY, write_container

SEGMENT = 1048576
BIG = "weights"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A locked model of four segments; tests copy it before they change it."""
    return write_container(tmp_path_factory.mktemp("base") / "model.locked", {BIG: bytes(3 * SEGMENT + 12345)})


class Reading(Cryptor):
    """A cryptor whose framework is a function of the test."""

    model_type = ModelType.MODEL_TORCH

    def __init__(self, framework: Any) -> None:
        self._framework = framework

    def _decrypt(self, *arguments: Any, **options: Any) -> Any:
        return self._framework(arguments[0].file(BIG))

    def _decrypt_bytes(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError


def hides_the_reason(file: ModelFile) -> bytes:
    try:
        return file.read_all()
    except Exception:
        raise RuntimeError("failed finding central directory") from None


def goes_on(file: ModelFile) -> bytes:
    try:
        return file.read_all()
    except Exception:
        return b"a model of zeros"


def reads_little(file: ModelFile) -> bytes:
    return file.read(10) or b""


@pytest.mark.parametrize("framework", [hides_the_reason, goes_on, reads_little])
def test_damage_is_what_the_caller_hears_of(path: Path, tmp_path: Path, framework: Any) -> None:
    data = bytearray(path.read_bytes())
    data[read_header(path).payload_offset + 2 * SEGMENT + 100] ^= 1
    changed = tmp_path / "changed.locked"
    changed.write_bytes(data)
    with pytest.raises(WeightlockError) as caught:
        Reading(framework).load(changed, CONTENT_KEY)
    assert caught.value.reason == "model_damaged"


def test_framework_that_went_on_after_a_failure_that_passed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails once leaves zeros in the framework's memory, although every segment verifies later."""
    read, failures = os.preadv, iter([OSError(5, "Input/output error")])

    def fails_once(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if offset > 2 * SEGMENT:
            for failure in failures:
                raise failure
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", fails_once)
    with pytest.raises(WeightlockError) as caught:
        Reading(goes_on).load(path, CONTENT_KEY)
    assert caught.value.reason == "file_unreadable"


def test_framework_that_rejects_an_intact_model(path: Path) -> None:
    def rejects(file: ModelFile) -> None:
        raise RuntimeError("unknown opcode\nand a long story")

    with pytest.raises(WeightlockError) as caught:
        Reading(rejects).load(path, CONTENT_KEY)
    assert caught.value.reason == "model_rejected"
    assert caught.value.message.endswith(": unknown opcode")
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_is_no_failure_of_the_framework_passes(path: Path, error: type[BaseException]) -> None:
    def interrupted(file: ModelFile) -> None:
        raise error

    with pytest.raises(error):
        Reading(interrupted).load(path, CONTENT_KEY)
