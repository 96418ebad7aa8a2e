"""Commands of weightlock in processes of their own that are there at once, where a test needs many of them.

Starting Python and importing weightlock takes much longer than most commands do. These processes are forked from one
that has done both. tests/tools tries commands as users start them.
"""

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.command_line import ROOT, Outcome, environment

__all__ = ["forked"]

READY = """
import contextlib, io, json, os, signal, sys

# What commands import when they need it; typer does that as well.
import cryptography.hazmat.primitives.keywrap, jwt, queue, sqlalchemy.dialects.sqlite, zoneinfo
import cryptors.torch_cryptor, licensing.issue, licensing.vendor_home
from tools.main import main, run_command_line

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(sys.stdout):
    run_command_line(["models", "--home", "/nowhere"])
signal.signal(signal.SIGINT, signal.default_int_handler)  # A test run in the background ignores Ctrl-C.
for line in sys.stdin:
    arguments, *streams = json.loads(line)
    child = os.fork()
    if child == 0:
        for descriptor, path in enumerate(["/dev/null", *streams]):
            os.dup2(os.open(path, os.O_RDWR), descriptor)
        os.kill(os.getpid(), signal.SIGSTOP)
        sys.argv[1:] = arguments
        main()
    os.waitpid(child, os.WUNTRACED)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Each child stops before it begins."""


def forked(
    *arguments: str | Path, prefix: tuple[str, ...] = (), meet: Callable[[int], object] = lambda pid: None
) -> Outcome:
    """Runs a command.

    Args:
        *arguments: of `weightlock`.
        prefix: a command under which the process starts from which all are forked.
        meet: is called with the command's process id before it begins.

    Returns:
        The outcome; a process that a signal killed has the signal's negative number for its code.
    """
    ready = _ready(prefix)
    assert ready.stdin
    assert ready.stdout
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdout", "stderr")]
        for stream in streams:
            stream.touch()
        ready.stdin.write(json.dumps([list(map(str, arguments)), *map(str, streams)]) + "\n")
        ready.stdin.flush()
        pid = int(ready.stdout.readline())
        meet(pid)
        os.kill(pid, signal.SIGCONT)
        code = int(ready.stdout.readline())
        return Outcome(code, *(stream.read_text(encoding="utf-8") for stream in streams))


@functools.cache
def _ready(prefix: tuple[str, ...]) -> "subprocess.Popen[str]":
    """Returns the process from which others are forked. It ends with this one, when its standard input does."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-B", "-c", READY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
