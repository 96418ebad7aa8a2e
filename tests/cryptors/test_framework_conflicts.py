"""Frameworks that crash each other: an error comes before the crash, and no combination that we test with crashes."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

import tests
from cryptors.errors import FrameworkConflictError
from cryptors.framework_conflicts import check_conflicts

ROOT = Path(tests.__file__).parent.parent

# A stand-in for TensorFlow: a module that has its name and a version, and nothing else.
BEFORE_PADDLE = """
import sys, types

class Importing:
    def find_spec(self, name, path=None, target=None):
        if name == "paddle":
            raise AssertionError("Paddle is imported")

stand_in = sys.modules["tensorflow"] = types.ModuleType("tensorflow")
stand_in.__version__ = sys.argv[1]
sys.meta_path.insert(0, Importing())

from cryptors import CryptorError
from cryptors.frameworks import import_framework

try:
    import_framework("paddle.inference", "paddle")
except CryptorError as error:
    print(error.reason, error.message, *error.hints, sep="|")
"""


def test_paddle_is_not_imported_after_a_tensorflow_that_it_crashes_with() -> None:
    command = [sys.executable, "-c", BEFORE_PADDLE, "2.20.0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    reason, message, hint = ended.stdout.strip().split("|")
    assert reason == "framework_conflict"
    assert message == "Paddle would crash this process, because TensorFlow 2.20.0 is loaded already"
    assert hint == "load the Paddle model before anything imports TensorFlow, or in a process of its own"


@pytest.mark.parametrize(
    ("version", "conflicts"),
    [
        *((each, False) for each in ("2.19.1", "2.9.0", "1.15", "", "unknown")),
        *((each, True) for each in ("2.20.0", "2.21.0rc0", "3.0")),
    ],
)
def test_versions(version: str, conflicts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "paddle", raising=False)
    stand_in = types.ModuleType("tensorflow")
    stand_in.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorflow", stand_in)
    if conflicts:
        with pytest.raises(FrameworkConflictError):
            check_conflicts("paddle")
    else:
        check_conflicts("paddle")
    check_conflicts("torch")
    monkeypatch.setitem(sys.modules, "paddle", types.ModuleType("paddle"))
    check_conflicts("paddle.inference")


def test_without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "paddle", raising=False)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    check_conflicts("paddle")


# Both run after both are loaded: some libraries crash only when they are used.
TOGETHER = """
import warnings
warnings.simplefilter("ignore")

def tensorflow_():
    import tensorflow
    return float(tensorflow.reduce_sum(tensorflow.ones([2, 2]) @ tensorflow.ones([2, 2])))

def paddle_():
    import paddle
    return float((paddle.ones([2, 2]) @ paddle.ones([2, 2])).sum())

def torch_():
    import torch
    return float((torch.ones(2, 2) @ torch.ones(2, 2)).sum())

import sys
run = [globals()[f"{name}_"] for name in sys.argv[1:]]
assert [each() for each in run * 2] == [8.0] * 4
"""


@pytest.mark.slow
@pytest.mark.parametrize("order", [("tensorflow", "paddle"), ("paddle", "tensorflow"), ("torch", "paddle")])
def test_frameworks_that_the_tests_load_together(order: tuple[str, str]) -> None:
    command = [sys.executable, "-c", TOGETHER, *order]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
