"""A damaged or incomplete model is refused with an error of ours, or what is wrong with it does not matter.

Frameworks may crash on such models: they are locked and loaded in a process that a test survives.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.subject import Subject
from tests.contract.trying import Tried, Trying, trying

__all__ = ["trying"]

pytestmark = pytest.mark.slow

REASONS = {
    "file_not_found": "the model, or a file of it, is not there",
    "model_malformed": "parts of the model that we read do not fit together",
    "model_rejected": "its framework does not accept it",
    "model_source_invalid": "it holds what no model holds, or lacks what it needs",
    "model_too_large": "it has more files than the process may open",
    "model_type_mismatch": "nothing tells its type any more, or tells another one",
    "unsafe_pickle": "what is left of a pickle is more than weights",
}
NAMES = {"Keras", "LiteRT", "ONNX", "OpenVINO", "Paddle", "PyTorch", "TensorFlow", "TensorRT"}
"""With these a sentence may begin, though they do not begin in lower case."""
MANY_FILES = 10_000


class Spoiling:
    """Spoils copies of a model, each in its own way, and tries what becomes of them.

    Args:
        subject: the model.
        trying: the process that tries it.
        folder: an empty one.

    Attributes:
        sizes: of the model's files, by their paths in the folder in which it lies.
        place: the folder of the model's files in there: the model itself where it is a directory, else ".".
    """

    def __init__(self, subject: Subject, trying: Trying, folder: Path) -> None:
        self._subject = subject
        self._trying = trying
        self._folder = folder
        self._plain = subject.plaintext.parent
        files = sorted(path for path in self._plain.rglob("*") if path.is_file())
        self.sizes = {path.relative_to(self._plain): path.stat().st_size for path in files}
        self.is_directory = subject.plaintext.is_dir()
        self.place = subject.plaintext.name if self.is_directory else "."
        self._intact = trying.once(subject.case.name, lambda: self._try(self._plain))
        assert self._intact.stage == "done", self._intact

    def __call__(self, spoil: Callable[..., object], *arguments: Any) -> Tried:
        """Asserts that a copy of the model gives what the model gives, or is refused with an error of ours.

        Args:
            spoil: is called with the folder in which the copy lies.
            *arguments: for `spoil`, behind the folder.
        """
        copy = self._folder / "plain"
        shutil.copytree(self._plain, copy)
        spoil(copy, *arguments)
        tried = self._try(copy)
        shutil.rmtree(copy)
        assert not tried.raw, tried.raw
        assert (tried.memory_files, tried.left) == (0, [])
        if tried.stage == "done":
            assert tried.arrays == self._intact.arrays
        else:
            assert_error_of_ours(tried)
        return tried

    def _try(self, plain: Path) -> Tried:
        locked = self._folder / "locked" / "model.locked"
        locked.parent.mkdir()
        tried = self._trying(self._subject.case, plain / self._subject.plaintext.name, locked)
        assert os.listdir(locked.parent) == ([] if tried.stage == "encrypt" else [locked.name])
        shutil.rmtree(locked.parent)
        return tried


def assert_error_of_ours(tried: Tried) -> None:
    """Asserts that an error has a reason and says one sentence, as all of them do, without places of this process."""
    assert tried.reason in REASONS, tried
    message = tried.message
    assert not message[0].isupper() or message.split()[0] in NAMES, message
    assert message == message.strip(" .!\n"), message
    assert not any(place in message for place in ("\n", "/proc/", "weightlock-", "ram://", "site-packages")), message


@pytest.fixture
def spoilt(tiny: Subject, trying: Trying, tmp_path: Path) -> Spoiling:
    """Returns what spoils the smallest model of each kind."""
    return Spoiling(tiny, trying, tmp_path)


def test_file_cut_short(spoilt: Spoiling) -> None:
    for path, size in spoilt.sizes.items():
        for length in sorted({0, size // 2, size - 1}):
            spoilt(cut, path, length)


def cut(folder: Path, path: Path, length: int) -> None:
    os.truncate(folder / path, length)


def test_file_missing(spoilt: Spoiling) -> None:
    for path in spoilt.sizes:
        spoilt(remove, path)


def remove(folder: Path, path: Path) -> None:
    (folder / path).unlink()


def test_links_to_files_are_followed(spoilt: Spoiling) -> None:
    assert spoilt(replace_by_links, list(spoilt.sizes)).stage == "done"


def replace_by_links(folder: Path, paths: list[Path]) -> None:
    """Leaves links where the files were, as model caches have them."""
    for number, path in enumerate(paths):
        moved = (folder / path).rename(folder.parent / f"moved-{number}")
        (folder / path).symlink_to(moved)


def test_more_files(spoilt: Spoiling) -> None:
    """In a directory they become part of the model, and beside a file they do not; in neither do they matter."""
    assert spoilt(add_files, spoilt.place, 1).stage == "done"
    if spoilt.is_directory:
        tried = spoilt(add_files, spoilt.place, MANY_FILES)
        assert tried.stage == "done" or tried.reason == "model_too_large"


def add_files(folder: Path, place: str, count: int) -> None:
    first = folder / place / "0.txt"
    first.write_text("more")
    for number in range(1, count):
        os.link(first, first.with_name(f"{number}.txt"))  # Much faster than another file.


def test_what_no_model_holds(spoilt: Spoiling) -> None:
    """A directory that holds such things is refused, and what lies beside a file is not looked at."""
    for add, reason in (
        (add_link_to_folder, "model_source_invalid"),
        (add_dangling_link, "file_not_found"),
        (add_name_that_is_no_text, "model_source_invalid"),
    ):
        tried = spoilt(add, spoilt.place)
        assert (tried.stage, tried.reason) == (("encrypt", reason) if spoilt.is_directory else ("done", ""))


def add_link_to_folder(folder: Path, place: str) -> None:
    (folder / place / "more").symlink_to(folder.parent)


def add_dangling_link(folder: Path, place: str) -> None:
    (folder / place / "more").symlink_to("nowhere")


def add_name_that_is_no_text(folder: Path, place: str) -> None:
    (folder / place / os.fsdecode(b"\xff")).write_text("more")
