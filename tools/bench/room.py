"""The run's temporary folder, and whether disk and memory have room for what it does."""

import contextlib
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from licensing.errors import StorageError, WeightlockError
from licensing.files import storage_error
from tools.bench.machine import available_memory
from tools.bench.settings import MIB, Settings
from tools.output import size_text

__all__ = ["COPIES", "OTHER_COPIES", "PEER_COPIES", "check_disk", "check_memory", "peer_obstacle", "temporary_folder"]

WORKER_BYTES = 300 * MIB
"""What a process takes with a framework loaded, beside the model."""

COPIES = {"torch": 1.2, "safetensors": 1.2, "openvino": 1.2, "torch_export": 1.2, "gguf": 1.2, "huggingface": 1.2}
OTHER_COPIES = 4.2
"""How many sizes of the model a type takes at most, to be made or to be loaded."""

PEER_COPIES = {"cryptotensors": 3.2, "tensorizer": 2.2, "one_shot": 3.4, "fernet": 6.5}
PEER_FILES = {"cryptotensors": 1.0, "tensorizer": 1.0, "one_shot": 1.0, "fernet": 1.4}
"""The same of the peers, and how large their files are."""

ONE_SHOT_LIMIT = 2**31 - 1
"""What `cryptography` takes in one call, in bytes."""


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Gives a private folder that is removed whatever ends the run: a signal that asks to end it counts as Ctrl-C.

    Raises:
        StorageError: it cannot be made.
    """
    # The name comes first, so that an interrupt at any moment finds what to remove.
    folder = Path(tempfile.gettempdir()) / f"weightlock-bench-{secrets.token_hex(8)}"
    handled = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, _interrupt) for number in handled}
    try:
        try:
            folder.mkdir(mode=0o700)
        except OSError as cause:
            raise storage_error(folder, cause) from cause
        yield folder
    finally:
        # An impatient second Ctrl-C must not leave gigabytes behind.
        for number in (signal.SIGINT, *handled) if handled else ():
            before.setdefault(number, signal.getsignal(number))
            signal.signal(number, signal.SIG_IGN)
        shutil.rmtree(folder, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def check_disk(settings: Settings, peers: list[str], folder: Path, size: int) -> None:
    """Refuses a run whose files do not fit.

    Args:
        settings: of the run.
        peers: those that are measured.
        folder: where the files go.
        size: of the model, in bytes.

    Raises:
        StorageError: they do not fit.
    """
    # The locked model of each type, and what is encrypted or copied; and the plaintext, where it is not the user's.
    sizes = len(settings.types) + 1.0 + sum(PEER_FILES[peer] for peer in peers)
    if settings.model is None:
        sizes += len({"safetensors", *settings.types})
    needed = int(sizes * size) + 32 * MIB
    if shutil.disk_usage(folder).free < needed:
        raise StorageError(
            f"measuring needs {size_text(needed)} for temporary files in {str(folder.parent)!r}",
            "set TMPDIR to a directory with more space, or try a smaller --size",
            reason="storage_full",
        )


def check_memory(settings: Settings, size: int) -> None:
    """Refuses a run for which the memory that is left would not do.

    Raises:
        WeightlockError: it would not.
    """
    copies = max((COPIES.get(kind, OTHER_COPIES) for kind in settings.types), default=1.2)
    needed = _needed_memory(settings, copies, size)
    if available_memory() < needed:
        raise WeightlockError(
            f"measuring needs {size_text(needed)} of memory, and {size_text(available_memory())} are available",
            "try a smaller --size, or fewer --types",
            reason="out_of_memory",
        )


def peer_obstacle(settings: Settings, peer: str, size: int) -> str | None:
    """Returns why a peer cannot be measured with a model of this size, or None."""
    if peer == "one_shot" and size > ONE_SHOT_LIMIT - MIB:
        return "one call takes at most 2 GiB"
    needed = _needed_memory(settings, PEER_COPIES[peer], size)
    return f"it needs {size_text(needed)} of memory" if available_memory() < needed else None


def _needed_memory(settings: Settings, copies: float, size: int) -> int:
    """Returns the bytes of a run in which the largest loader takes so many sizes of the model."""
    # The limit and `decrypt` hold their memory all the time; the others hold a model one after another.
    workers = 2 * len(settings.types) + len(PEER_COPIES) * settings.peers
    return 512 * MIB + min(size, 1280 * MIB) + int(copies * size) + WORKER_BYTES * workers
