"""The demo: the whole story on a real model, and what must fail."""

import shutil
import tempfile
import time
from pathlib import Path

from licensing.errors import StorageError
from licensing.version import __version__
from tools.demo_model import find_minilm, tokenize
from tools.demo_page import Page
from tools.demo_patched import play_patched
from tools.demo_refusals import play_refusals
from tools.demo_sentences import SENTENCES
from tools.demo_story import play_story
from tools.own_state import own_state

__all__ = ["play"]

NEEDED_BYTES = 320_000_000
"""The model as plaintext, locked, and as a tampered copy, 90 MB each, and some room."""


def play() -> None:
    """Plays the demo in a temporary directory, which is removed whatever happens.

    Raises:
        FrameworkMissingError: the demo's model or a library that it needs is not installed.
        StorageError: there is not enough space for temporary files.
        DemoFailedError: something that must fail did not, or the locked model computes something else.
    """
    began = time.perf_counter()
    model_folder = find_minilm()
    inputs = tokenize(model_folder, SENTENCES)
    page = Page()
    with tempfile.TemporaryDirectory(prefix="weightlock-demo-") as name:
        directory = Path(name)
        _require_space(directory)
        page.title(
            f"Weightlock {__version__}: a real model, locked to one machine",
            "Vendor and customer are two folders of a temporary directory.",
        )
        try:
            with own_state(directory):
                scene = play_story(page, directory, model_folder, inputs)
                play_refusals(page, scene)
                play_patched(page, scene)
        except BrokenPipeError:
            raise  # Nobody reads on, which is no matter of storage.
        except OSError as cause:
            detail = (cause.strerror or str(cause)).lower()
            raise StorageError(f"{name!r} cannot be used: {detail}", "set TMPDIR to another directory") from cause
    page.end(f"All of it came out as it must, in {time.perf_counter() - began:.0f} seconds; the directory is removed.")


def _require_space(directory: Path) -> None:
    if shutil.disk_usage(directory).free < NEEDED_BYTES:
        raise StorageError(
            f"the demo needs {NEEDED_BYTES // 1_000_000} MB for temporary files in {str(directory.parent)!r}",
            "set TMPDIR to a directory with more space",
            reason="storage_full",
        )
