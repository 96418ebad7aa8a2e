"""The process's standard streams: what happens where they are closed, full, or cannot show a character."""

import contextlib
import io
import os
import sys

from licensing.errors import StorageError
from tools.output import print_error

__all__ = ["finish_streams", "prepare_streams"]


def prepare_streams() -> None:
    """Makes the streams fit for everything that commands print."""
    # A program may start us with closed streams. The next files that are opened would take their places, and what a
    # library then says to standard error would land in a model.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (open until the process ends)
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files, machines and GPUs can hold characters that the locale's encoding lacks. Standard error
        # escapes them by itself; standard output would end the command with an error.
        sys.stdout.reconfigure(errors="backslashreplace")


def finish_streams(code: int) -> int:
    """Writes what is still to be written, and returns the exit code: another than `code` where that failed.

    Python does this on exit by itself, but complains with a traceback.
    """
    try:
        sys.stdout.flush()
        return code
    except OSError as cause:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(cause, BrokenPipeError):  # Whoever reads only the first lines wants no complaint.
            detail = (cause.strerror or str(cause)).lower()
            print_error(StorageError(f"standard output cannot be written: {detail}"), as_json=False)
        return code or 1
