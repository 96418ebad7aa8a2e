"""The check-up of what protects a process that holds keys: its memory, core dumps, debuggers, swap."""

import re
from collections.abc import Iterator

from licensing.findings import Finding
from licensing.secret_memory import MemoryKind
from licensing.surroundings import System

__all__ = ["check_process"]


def check_process(system: System, key_memory: MemoryKind, lockable_bytes: int | None) -> Iterator[Finding]:
    """Checks the weak spots that `licensing.harden()` leaves on this system.

    Args:
        system: what this process runs in.
        key_memory: the kind of memory that keys get here.
        lockable_bytes: the limit of locked memory (RLIMIT_MEMLOCK); None where there is none.
    """
    yield _key_memory(key_memory, lockable_bytes)
    yield from _check_debuggers(system)
    yield from _check_core_dumps(system)
    yield from _check_swap(system)
    yield from _check_variables(system)


def _key_memory(kind: MemoryKind, lockable_bytes: int | None) -> Finding:
    limit = "no limit" if lockable_bytes is None else f"{lockable_bytes // 1024} kB"
    if kind == "secret":
        return Finding("process", "ok", "key_memory", "keys are kept in memory that the kernel itself does not map")
    if kind == "locked":
        return Finding(
            "process",
            "note",
            "key_memory",
            "keys are kept in locked memory: this kernel or this sandbox does not offer memfd_secret",
            "keys are never swapped out; whoever may read the process's memory finds them while they are in use",
            "boot with secretmem.enable=y (memfd_secret(2)); in a container, let the seccomp profile allow it",
        )
    return Finding(
        "process",
        "warning",
        "key_memory",
        f"keys are kept in ordinary memory: it cannot be locked here (RLIMIT_MEMLOCK: {limit})",
        "keys may be swapped out to a disk while they are in use",
        "raise the limit of locked memory: 'ulimit -l', LimitMEMLOCK= of systemd, or docker run --ulimit memlock=-1",
    )


def _check_debuggers(system: System) -> Iterator[Finding]:
    scope = system.text("/proc/sys/kernel/yama/ptrace_scope")
    if scope in (None, "0"):
        yield Finding(
            "process",
            "note",
            "ptrace_scope",
            "processes of the same user may read each other's memory (kernel.yama.ptrace_scope)",
            "they can read the model from an application that does not call licensing.harden(); 'weightlock run' does",
            "call licensing.harden() in the application, or set kernel.yama.ptrace_scope=1",
        )


def _check_core_dumps(system: System) -> Iterator[Finding]:
    pattern = system.text("/proc/sys/kernel/core_pattern") or ""
    if pattern.startswith("|"):
        program = pattern[1:].split(" ")[0]
        yield Finding(
            "process",
            "note",
            "core_dumps",
            f"core dumps are handed to a program, whatever the limits say: {program[:60]}",
            "a crash of an application that does not call licensing.harden() leaves parts of the model there",
            "call licensing.harden() in the application; 'weightlock run' does",
        )


def _check_swap(system: System) -> Iterator[Finding]:
    lines = (system.text("/proc/swaps") or "").splitlines()[1:]
    places = [line.split()[0] for line in lines if line.split()]
    plain = [place for place in places if not _is_encrypted(system, place)]
    if plain:
        yield Finding(
            "process",
            "note",
            "swap",
            f"there is swap that is not known to be encrypted: {', '.join(plain[:3])}",
            "parts of a decrypted model may be swapped out to it, and stay there after the process has ended",
            "encrypt the swap, or switch it off",
        )


def _is_encrypted(system: System, place: str) -> bool:
    """Tells whether swap is in memory, or on a device of dm-crypt, whose UUID says so."""
    device = re.fullmatch("/dev/(dm-[0-9]+)", place, re.ASCII)
    if device:
        return (system.text(f"/sys/block/{device[1]}/dm/uuid") or "").startswith("CRYPT-")
    return place.startswith("/dev/zram")


def _check_variables(system: System) -> Iterator[Finding]:
    preloaded = system.environment.get("LD_PRELOAD", "").strip()
    if preloaded:
        yield Finding(
            "process",
            "warning",
            "preloaded",
            f"LD_PRELOAD is set: {preloaded[:80]!r}",
            "what it names runs inside every program: it can read models, and a changed clock or driver is refused",
            "unset LD_PRELOAD where models run, unless it is known what it is for",
        )
    if system.environment.get("PYTHONPATH"):
        yield Finding(
            "process",
            "note",
            "python_path",
            f"PYTHONPATH is set: {system.environment['PYTHONPATH'][:80]!r}",
            "whoever can write to these directories can run code in every Python program, and read models there",
            "unset it where models run, or start Python with -I",
        )
