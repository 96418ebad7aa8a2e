"""Makes this process harder to look into: no core dumps, and no debugger of the same user.

What it does not stop: root; whoever changes what this process loads before it starts (`PYTHONPATH`, `LD_PRELOAD`,
the files of the packages); code in this process. docs/limitations.md says more.
"""

import ctypes
import resource
from dataclasses import dataclass

from licensing.secret_memory import MemoryKind, SecretMemory

__all__ = ["Hardening", "harden"]

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Hardening:
    """What holds in this process now.

    Attributes:
        undumpable: other processes of the same user can neither read its memory (`/proc/PID/mem`, ptrace, gcore) nor
            see what it has open.
        no_core_dumps: a crash writes no core dump, here and in the programs that it starts.
        key_memory: where keys are kept, see `licensing.secret_memory`.
    """

    undumpable: bool
    no_core_dumps: bool
    key_memory: MemoryKind


def harden() -> Hardening:
    """Hardens this process, for as long as it lives: call it before the first model is loaded.

    `weightlock run` does it by itself. An application decides, because it loses something: no debugger or profiler of
    the same user can attach any more, and a crash leaves no core dump. A program that this one executes is dumpable
    again. Nothing is raised where the system refuses a measure; the result says what holds.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        pass  # What counts is what getrlimit says below.
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    with SecretMemory(1) as memory:
        kind = memory.kind
    return Hardening(
        undumpable=_libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0,
        no_core_dumps=resource.getrlimit(resource.RLIMIT_CORE) == (0, 0),
        key_memory=kind,
    )
