"""torch.export: pickles inside of archives, which PyTorch would load even where they run code."""

import contextlib
import io
import json
import logging
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from cryptors.errors import CryptorError
from tests.cryptors.containers import CONTENT_KEY, write_container
from tests.cryptors.torch_export_setting import (
    EXPORT,
    Scale,
    X,
    assert_refused,
    export,
    lock,
    rewritten,
    save_as_before,
    saved,
)

pytestmark = pytest.mark.usefixtures("memory_only")

ran: list[str] = []
"""What hostile pickles of these tests have run."""


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return run, ("pickle",)


def run(what: str) -> OrderedDict[str, Any]:
    ran.append(what)
    return OrderedDict()


def hostile(kind: str) -> bytes:
    """Returns a pickle that runs code, as `torch.save` or as Python alone writes it."""
    if kind == "plain":
        return pickle.dumps(Hostile(), protocol=2)
    buffer = io.BytesIO()
    torch.save(((Hostile(),), {}), buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_sample_inputs_that_run_code(tmp_path: Path, kind: str) -> None:
    """PyTorch tries sample inputs safely first, and when that fails, loads them all the same."""

    def change(name: str, data: bytes) -> bytes:
        return hostile(kind) if name == "data/sample_inputs/model.pt" else data

    locked = lock(rewritten(saved(tmp_path, export(Scale())), change))
    for call in (EXPORT.load, EXPORT.decrypt):
        error = assert_refused("unsafe_pickle", call, locked, CONTENT_KEY)
        assert error.__cause__ is not None
        assert "--allow-pickle" in error.hints[0]
    assert ran == []


def test_sample_inputs_that_run_code_and_may(tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        return hostile("zip") if name == "data/sample_inputs/model.pt" else data

    locked = lock(rewritten(saved(tmp_path, export(Scale())), change))
    logging.getLogger("torch._export.serde.serialize").setLevel(logging.ERROR)  # PyTorch's warning fails to format.
    try:
        program = EXPORT.load(locked, CONTENT_KEY, **EXPORT.run_options("cpu", None, True))
    finally:
        logging.getLogger("torch._export.serde.serialize").setLevel(logging.NOTSET)
    assert torch.equal(program.module()(X), Scale()(X))
    assert ran == ["pickle"]


@pytest.mark.parametrize("what", ["weights", "constants"])
def test_weights_and_constants_that_run_code(tmp_path: Path, what: str) -> None:
    """Tensors of classes of one's own are pickled, each by itself, and PyTorch loads them without any check."""
    payload = {"path_name": "tensor_0", "is_param": False, "use_pickle": True, "tensor_meta": None}

    def change(name: str, data: bytes) -> bytes:
        if name == f"data/{what}/model_{what}_config.json":
            return json.dumps({"config": {"weight": payload}}).encode()
        return hostile("zip") if name == f"data/{what}/tensor_0" else data

    path = saved(tmp_path, export(Scale()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/data/{what}/tensor_0", b"")
    locked = lock(rewritten(path, change))
    assert_refused("unsafe_pickle", EXPORT.load, locked, CONTENT_KEY)
    assert ran == []
    with contextlib.suppress(CryptorError):  # It is no weight, but its code ran: the test above shows something.
        EXPORT.load(locked, CONTENT_KEY, weights_only=False)
    assert ran == ["pickle"]


def test_old_layout_with_a_pickle_that_runs_code(tmp_path: Path) -> None:
    state = io.BytesIO()
    torch.save(Hostile(), state)
    locked = lock(save_as_before(tmp_path / "old.pt2", export(Scale()), state.getvalue()))
    assert_refused("unsafe_pickle", EXPORT.load, locked, CONTENT_KEY)
    assert ran == []


@pytest.mark.parametrize("is_hostile", [False, True])
def test_weights_in_one_pickle(tmp_path: Path, is_hostile: bool) -> None:
    """The layout of PyTorch 2.8."""
    state = io.BytesIO()
    torch.save(Hostile() if is_hostile else dict(Scale().named_parameters()), state)
    path = rewritten(saved(tmp_path, export(Scale())), lambda name, data: None if "/weights/" in name else data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/data/weights/model.pt", state.getvalue())
    locked = lock(path)
    if is_hostile:
        assert_refused("unsafe_pickle", EXPORT.load, locked, CONTENT_KEY)
        assert ran == []
    else:
        assert torch.equal(EXPORT.load(locked, CONTENT_KEY).module()(X), Scale()(X))


def test_two_members_of_one_name(tmp_path: Path) -> None:
    """One reader could see the one, and another the other."""
    path = saved(tmp_path, export(Scale()))
    with zipfile.ZipFile(path, "a") as archive:
        name = next(name for name in archive.namelist() if "sample_inputs" in name)
        archive.writestr(name.upper(), hostile("zip"))
    assert_refused("model_source_invalid", EXPORT.encrypt, path, CONTENT_KEY, tmp_path / "x.locked")
    locked = write_container(tmp_path / "x.locked", {"model.pt2": path.read_bytes()}, model_type="torch_export")
    assert_refused("model_rejected", EXPORT.load, locked, CONTENT_KEY)
    assert ran == []
