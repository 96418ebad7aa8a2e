"""The jobs of the bench, each run here once on a small model: they load what they say, and tell their times."""

from pathlib import Path
from typing import Any

import pytest

from tools.bench.jobs import Arguments
from tools.bench.loads import PLAIN
from tools.bench.makers import MAKERS
from tools.bench.random_model import read_layout, write_random_model
from tools.bench.scene import RANDOM_TYPE, ModelFiles, Scene
from tools.bench.settings import MIB
from tools.bench.worker import prepared_job

SIZE = 4 * MIB
TENSORS = ["torch", "safetensors"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model."""
    path = tmp_path_factory.mktemp("base") / "model.safetensors"
    write_random_model(path, SIZE)
    return path


def run(arguments: Arguments, threads: int = 2) -> dict[str, float]:
    seconds = prepared_job(arguments)(threads)
    assert all(value > 0 for value in seconds.values())
    return seconds


def made(kind: str, base: Path, folder: Path) -> tuple[Scene, ModelFiles]:
    """Returns a model of a type, locked."""
    path = base
    if kind != RANDOM_TYPE:
        path = folder / MAKERS[kind][0]
        run({"job": "make", "type": kind, "base": str(base), "path": str(path)})
    scene = Scene(folder, 2)
    return scene, scene.take(kind, path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:No ccache found:UserWarning")
@pytest.mark.parametrize("kind", ["torch", "safetensors", "onnx", "openvino", "paddle", "tensorflow", "torchscript"])
def test_models_are_loaded_as_plaintext_and_locked(kind: str, base: Path, tmp_path: Path) -> None:
    scene, model = made(kind, base, tmp_path)
    assert SIZE < model.size < 1.1 * SIZE
    for side in ("plain", "locked"):
        seconds = run(scene.job(side, model))
        assert seconds["touched"] >= seconds["call"]
    assert run(scene.job("decrypt", model)).keys() == {"call"}


@pytest.mark.parametrize("kind", TENSORS)
def test_one_tensor_is_taken_out(kind: str, base: Path, tmp_path: Path) -> None:
    scene, model = made(kind, base, tmp_path)
    for side in ("plain_lazy", "locked_lazy"):
        seconds = run(scene.job(side, model, tensor=read_layout(base)[-1].name))
        assert seconds["touched"] >= seconds["call"]


@pytest.mark.parametrize("peer", ["fernet", "one_shot"])
def test_peers_load_the_same_tensors(peer: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, model = made("torch", base, tmp_path)
    output = tmp_path / "peer"
    run(scene.job(f"make_{peer}", model, output=str(output)))
    assert output.stat().st_size >= model.size
    assert read_layout(base)[0].name.encode() not in output.read_bytes()
    loaded: list[Any] = []
    monkeypatch.setattr("tools.bench.peers.touch", loaded.append)
    run(scene.job(peer, model, output=str(output)))
    expected = PLAIN["torch"](model.path)()
    assert loaded[0].keys() == expected.keys()
    assert all((loaded[0][name] == expected[name]).all() for name in expected)


def test_encrypting_and_copying_leave_nothing(base: Path, tmp_path: Path) -> None:
    scene, model = made("safetensors", base, tmp_path)
    before = sorted(tmp_path.iterdir())
    run(scene.job("encrypt", model, output=str(tmp_path / "encrypted")))
    run({"job": "copy", "path": str(model.path), "output": str(tmp_path / "copied")})
    assert sorted(tmp_path.iterdir()) == before


def test_limit_takes_threads() -> None:
    assert run({"job": "limit", "bytes": 3 * MIB}, threads=3).keys() == {"call"}
