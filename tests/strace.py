"""strace: a process's system calls, seen or tampered with. scripts/install-test-packages installs the program.

Killing a process when it enters a chosen system call, or failing that call, reaches every state that its files go
through, and the same ones on every run; random moments would miss those that last microseconds.
"""

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.command_line import Outcome, environment
from tests.components import need
from tests.forked import forked

__all__ = ["stopped", "tampered", "traced"]

MOST_CALLS = 200
STRIDES = {"pwrite64": 4}
"""There are some thirty of these. SQLite writes its journal in groups of three, so that four meets every kind."""


Arguments = Callable[[Path], tuple[str | Path, ...]]


def tampered(action: str, call: str, when: int, *arguments: str | Path) -> Outcome:
    """Runs a command of weightlock that is killed, interrupted or failed at one system call.

    Args:
        action: "signal=SIGKILL" and other signals arrive before the call does anything; "error=ENOSPC" and other
            errors stand for the call.
        call: the system call's name.
        when: at which of its calls, beginning with 1; each thread counts its own.
        *arguments: of `weightlock`.

    Returns:
        The outcome; a process that a signal killed has the signal's negative number for its code.
    """
    need("strace")
    options = ["-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{action}:when={when}"]

    def attach(pid: int) -> None:
        command = ["strace", *options, "-p", str(pid)]
        strace = ended.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        assert strace.stderr
        assert strace.stderr.readline() == f"strace: Process {pid} attached\n"

    with contextlib.ExitStack() as ended:
        return forked(*arguments, meet=attach)


def stopped(action: str, call: str, arguments: Arguments, folder: Path) -> Iterator[tuple[Path, Outcome]]:
    """Runs a command that is stopped at its first, second, … call, each time with another output in a new folder."""
    for when in range(1, MOST_CALLS, STRIDES.get(call, 1)):
        output = folder / f"{call}-{when}" / "output"
        output.parent.mkdir()
        outcome = tampered(action, call, when, *arguments(output))
        yield output, outcome
        if outcome.code == 0:
            assert when > 1, f"the command never calls {call}: this test shows nothing"
            return
    raise AssertionError(f"the command calls {call} {MOST_CALLS} times or more")


def traced(calls: str, logs: Path, command: Sequence[str | Path], folder: Path, **variables: str) -> list[str]:
    """Runs a command, which must succeed, and returns its system calls as lines, with all data in hexadecimal.

    Args:
        calls: the system calls, as `strace -e trace=` wants them.
        logs: an empty folder, in which strace writes.
        command: the command and its arguments.
        folder: where the command runs.
        **variables: environment variables beside those of this process.
    """
    need("strace")
    # -ff: a file for each thread, because calls of several threads in one file tear each other's lines apart.
    # -y shows what descriptors stand for. --seccomp-bpf spares a stop at each of the calls that nobody asks for.
    options = ["-ff", "-qq", "-y", "-xx", "-s", "100000000", "--seccomp-bpf", "-o", str(logs / "calls")]
    ended = subprocess.run(
        ["strace", *options, "-e", f"trace={calls}", "--", *command],
        cwd=folder,
        env=environment(variables),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return [line for log in sorted(logs.iterdir()) for line in log.read_text(encoding="ascii").splitlines()]
