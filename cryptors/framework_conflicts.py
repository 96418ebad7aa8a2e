"""Frameworks that crash the process when they are loaded in the wrong order: an error comes instead.

Such a crash takes down the customer's whole application without a word of what was wrong. What is listed here was
seen; docs/frameworks.md says with which versions.
"""

import re
import sys
from dataclasses import dataclass

from cryptors.errors import FrameworkConflictError

__all__ = ["check_conflicts"]


@dataclass(frozen=True)
class _Conflict:
    """Two frameworks that one process can hold only if the second is imported before the first.

    Attributes:
        first: the module that must not be loaded yet.
        since: the version of it from which on this is so.
        second: the module whose import crashes then.
        names: how people call the two.
    """

    first: str
    since: tuple[int, int]
    second: str
    names: tuple[str, str]


_CONFLICTS = (
    # Seen with TensorFlow 2.20.0 and 2.21.0 and with Paddle 2.6.2, 3.0.0, 3.2.2 and 3.3.1: a segmentation fault while
    # Paddle's library is loaded. TensorFlow 2.19.1 does no harm, nor does any of them when Paddle comes first.
    _Conflict("tensorflow", (2, 20), "paddle", ("TensorFlow", "Paddle")),
)


def check_conflicts(module: str) -> None:
    """Refuses to import a framework that would crash this process.

    Args:
        module: what is to be imported.

    Raises:
        FrameworkConflictError: naming what is loaded already.
    """
    wanted = module.partition(".")[0]
    if wanted in sys.modules:  # It is loaded, and nothing happened.
        return
    for conflict in _CONFLICTS:
        version = getattr(sys.modules.get(conflict.first), "__version__", None)
        if wanted == conflict.second and isinstance(version, str) and _major_minor(version) >= conflict.since:
            loaded, crashing = conflict.names
            raise FrameworkConflictError(
                f"{crashing} would crash this process, because {loaded} {version} is loaded already",
                f"load the {crashing} model before anything imports {loaded}, or in a process of its own",
            )


def _major_minor(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
