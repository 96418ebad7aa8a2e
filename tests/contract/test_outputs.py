"""A locked model gives what its plaintext gives, whichever way it is opened, and to the last bit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptors import EncryptOptions, load_model
from licensing.content_key import content_key_base64
from tests.command_line import here
from tests.contract.case import Arrays
from tests.contract.subject import Subject, digests

# PyTorch deprecates TorchScript, which users have all the same.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")]


def assert_same(found: Arrays, expected: Arrays) -> None:
    """Asserts that arrays are equal bit by bit."""
    assert expected
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes(), name


# The ways to open a locked model.


def test_decrypt(wide: Subject) -> None:
    found = wide.cryptor.decrypt(wide.locked, wide.content_key, **wide.case.options)
    assert_same(wide.case.arrays(found), wide.expected)


def test_load(wide: Subject) -> None:
    assert_same(wide.case.arrays(wide.load()), wide.expected)


def test_load_model(wide: Subject) -> None:
    found = load_model(wide.locked, crypt_key=wide.content_key, **wide.case.options)
    assert_same(wide.case.arrays(found), wide.expected)


def test_run(wide: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licensing.unlock.read_hardware", lambda: wide.box.hardware)
    np.savez(tmp_path / "x.npz", **wide.case.inputs(wide.width))
    files = ("--input", str(tmp_path / "x.npz"), "--output", str(tmp_path / "y.npz"))
    license = wide.box.arguments(wide.license)
    ended = here("run", wide.locked, *license, *files, *wide.case.run_arguments(wide.width), "--json")
    if wide.case.run is None:
        ended.refused(4, "model_type_mismatch")
        return
    ended.done()
    with np.load(tmp_path / "y.npz", allow_pickle=False) as found:
        assert_same(dict(found), wide.case.run(wide.plaintext))


def test_inspect_shows_what_the_model_wants(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licensing.unlock.read_hardware", lambda: tiny.box.hardware)
    license = tiny.box.arguments(tiny.license)
    ended = here("inspect", tiny.locked, *license, *tiny.case.run_arguments(tiny.width), "--json")
    if tiny.case.run is None:
        ended.refused(4, "model_type_mismatch")
        return
    facts, wanted = ended.done().facts, list(tiny.case.inputs(tiny.width))
    assert [each["name"] for each in facts["inputs"]][: len(wanted)] == wanted
    assert facts["model_id"] == tiny.header.model_id
    if facts["inputs"][0]["shape"] is not None:
        assert facts["inputs"][0]["dtype"] == "float32"
        assert len(facts["inputs"][0]["shape"]) == 2
        assert len(facts["outputs"]) == len(tiny.case.run(tiny.plaintext))


@pytest.mark.parametrize("kind", [str, Path])
def test_license(tiny: Subject, kind: Callable[[Any], Any]) -> None:
    unlocking = tiny.box.unlocking(tiny.license)
    paths = {name: kind(unlocking[name]) for name in ("license", "trust", "home")}
    options = {**paths, "hardware": unlocking["hardware"], **tiny.case.options}
    assert_same(tiny.case.arrays(load_model(kind(tiny.locked), **options)), tiny.expected)
    assert_same(tiny.case.arrays(tiny.cryptor.load(kind(tiny.locked), **options)), tiny.expected)
    assert_same(tiny.case.arrays(tiny.cryptor.decrypt(kind(tiny.locked), **options)), tiny.expected)


@pytest.mark.parametrize("form", ["32 bytes", "44 bytes", "44 characters", "file of bytes", "file of text"])
def test_form_of_the_content_key(tiny: Subject, tmp_path: Path, form: str) -> None:
    """Every form locks, and every form opens."""
    text = content_key_base64(tiny.content_key)
    (tmp_path / "raw").write_bytes(tiny.content_key)
    (tmp_path / "text").write_text(f"{text}\n")
    keys: dict[str, list[Any]] = {
        "32 bytes": [tiny.content_key],
        "44 bytes": [text.encode()],
        "44 characters": [text],
        "file of bytes": [tmp_path / "raw", str(tmp_path / "raw")],
        "file of text": [tmp_path / "text", str(tmp_path / "text")],
    }
    for number, key in enumerate(keys[form]):
        locked = tmp_path / f"{number}.locked"
        assert tiny.cryptor.encrypt(tiny.plaintext, key, locked).key_id == tiny.header.key_id
        assert_same(tiny.case.arrays(tiny.load(locked, crypt_key=key)), tiny.expected)


@pytest.mark.parametrize("kind", [str, Path])
def test_kind_of_path(tiny: Subject, tmp_path: Path, kind: Callable[[Any], Any]) -> None:
    locked = tmp_path / "model.locked"
    tiny.cryptor.encrypt(kind(tiny.plaintext), tiny.content_key, kind(locked))
    assert_same(tiny.case.arrays(tiny.load(kind(locked))), tiny.expected)


# What happens beside the outputs.


def test_locking_does_not_touch_the_plaintext(wide: Subject) -> None:
    assert wide.before
    assert wide.after == wide.before


def test_loading_does_not_touch_the_locked_model(wide: Subject, tmp_path: Path) -> None:
    locked = Path(shutil.copy(wide.locked, tmp_path / "model.locked"))
    before = digests(tmp_path)
    wide.load(locked)
    assert digests(tmp_path) == before


def test_model_works_after_the_locked_file_is_gone(wide: Subject, tmp_path: Path) -> None:
    locked = Path(shutil.copy(wide.locked, tmp_path / "model.locked"))
    loaded = wide.load(locked)
    locked.write_bytes(b"")
    locked.unlink()
    for _ in range(2):
        assert_same(wide.case.arrays(loaded), wide.expected)


def test_several_loads_do_not_disturb_each_other(tiny: Subject) -> None:
    first, second = tiny.load(), tiny.load()
    assert_same(tiny.case.arrays(first), tiny.expected)
    del first
    assert_same(tiny.case.arrays(second), tiny.expected)


@pytest.mark.parametrize("threads", [1, 4])
def test_threads(wide: Subject, tmp_path: Path, threads: int) -> None:
    locked = tmp_path / "model.locked"
    wide.cryptor.encrypt(wide.plaintext, wide.content_key, locked, EncryptOptions(threads=threads))
    assert_same(wide.case.arrays(wide.load(locked)), wide.expected)
    assert_same(wide.case.arrays(wide.load(threads=threads)), wide.expected)


@pytest.mark.parametrize("threads", [1, 4])
def test_progress_grows_and_ends_with_everything(wide: Subject, tmp_path: Path, threads: int) -> None:
    total = wide.header.plaintext_bytes
    locking: list[tuple[int, int]] = []
    loading: list[tuple[int, int]] = []
    options = EncryptOptions(threads=threads, progress=lambda *report: locking.append(report))
    wide.cryptor.encrypt(wide.plaintext, wide.content_key, tmp_path / "model.locked", options)
    wide.load(threads=threads, progress=lambda *report: loading.append(report))
    for reports in (locking, loading):
        assert reports == sorted(reports)
        assert {in_all for _, in_all in reports} == {total}
        assert reports[-1] == (total, total)
    if threads == 1:  # Several threads can have done everything when the first report is made.
        assert len({done for done, _ in loading}) > 2, "a long read reports on its way"
