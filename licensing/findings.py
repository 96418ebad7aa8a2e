"""What a check-up of a box finds: each finding with its reason and its mend."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["LEVELS", "Finding", "Level"]

Level = Literal["problem", "warning", "note", "ok"]

LEVELS: tuple[Level, ...] = ("problem", "warning", "note", "ok")
"""From the worst to the best.

    problem  a license does not unlock here, or will not after the next start
    warning  it can stop to unlock one day without anybody having done something wrong, or the lock is weak here
    note     worth knowing; nothing has to be done
    ok       checked, and as it should be
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        subject: what it is about: "machine", "gpus", "device key", "storage", "clock", "process", "license".
        level: how bad it is.
        code: its stable name, for programs.
        found: what was found, one sentence.
        why: how it locks somebody out, or weakens the lock; empty where nothing is wrong.
        mend: what to do; empty where nothing has to be done.
    """

    subject: str
    level: Level
    code: str
    found: str
    why: str = ""
    mend: str = ""
