"""Commands on a terminal: a pseudo-terminal that a test reads from and types into."""

import contextlib
import fcntl
import os
import pty
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path

from tests.command_line import PROGRAM, environment

__all__ = ["on_terminal"]


def on_terminal(
    *arguments: str | Path, typed: Sequence[str] = (), command: Sequence[str] = (PROGRAM,)
) -> tuple[int, str]:
    """Runs a command whose standard streams are a terminal, which also controls it.

    Args:
        *arguments: of the command.
        typed: what is typed, a line each time that the command asks for something: when its output ends with ": ".
        command: what to run; by default `weightlock`.

    Returns:
        The exit code, and everything that the terminal showed.
    """
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(
        [*command, *arguments],
        env={**environment(), "TERM": "xterm", "COLUMNS": "100"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal)
    shown, lines = b"", list(typed)
    with contextlib.suppress(OSError):  # Linux ends a terminal that nobody holds any more with an error.
        while data := os.read(keyboard, 4096):
            shown += data
            if lines and shown.endswith(b": "):
                os.write(keyboard, f"{lines.pop(0)}\n".encode())
    os.close(keyboard)
    assert not lines, f"the command asked fewer questions than expected: {shown!r}"
    return process.wait(), shown.decode()
