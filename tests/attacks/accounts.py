"""Running commands with the power of somebody else than whoever runs the attacks."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.attacks.attack import CannotBeTriedError, require

__all__ = ["as_another_user", "as_root", "without_capabilities"]

NOBODY = 65534


def as_root() -> list[str]:
    """Returns a prefix under which a command is root's."""
    if os.geteuid() == 0:
        return []
    require("sudo")
    if subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode != 0:
        raise CannotBeTriedError("needs root, or sudo without a password, to be root and to be another user")
    return ["sudo", "-n"]


def as_another_user(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Runs a command as somebody who has an account on the licensed machine, and nothing to do with weightlock."""
    require("setpriv")
    account = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all"]
    prefix = [*as_root(), "setpriv", *account, "--"]
    return subprocess.run([*prefix, *command], capture_output=True, text=True, check=False, cwd="/")


def without_capabilities() -> list[str]:
    """Returns a prefix under which root is a user like every other, who owns files and processes, and may no more.

    The same user is not root: between processes that both run under this prefix, the kernel decides as it does between
    those of any user. Another account could often not read the environment that the attacks run in.
    """
    require("setpriv")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"] if os.geteuid() == 0 else []
