"""What an attack is, and what comes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.attacks.scene import AttackScene

__all__ = [
    "ATTACKS",
    "GROUPS",
    "TIERS",
    "Attack",
    "CannotBeTriedError",
    "Outcome",
    "Power",
    "StoppedBy",
    "Tier",
    "attack",
    "require",
]

Tier = Literal["software", "tpm", "either"]
TIERS: tuple[Tier, ...] = ("software", "tpm", "either")
"""The last one is that of attacks for which the tier makes no difference; they are tried once, on the software tier."""

Loot = Literal["nothing", "content key", "plaintext", "more time", "use of the model", "running code", "memory"]

GROUPS = {
    "copying": "Copying to another machine",
    "keys": "The device key",
    "gpu": "The GPU",
    "claims": "Editing a license",
    "tokens": "Tricks with signed texts",
    "mixing": "Mixing licenses, grants, customers and vendors",
    "clock": "The clock",
    "patching": "A program whose checks were patched out",
    "process": "The process that runs the model",
    "plaintext": "Plaintext that is left somewhere",
    "hostile": "Hostile files",
}


class Power(Enum):
    """What an attacker can do on the licensed machine. On machines of their own, all of them are root."""

    FILES = "a file thief"
    SENDER = "a file's sender"
    OTHER_USER = "another user"
    SAME_USER = "the same user"
    ROOT = "root"


class StoppedBy(Enum):
    """What an attack met."""

    CRYPTOGRAPHY = "cryptography"
    CHECK = "a check"
    SYSTEM = "the operating system"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Outcome:
    """What came of an attack.

    Attributes:
        happened: in words.
        stopped_by: "cryptography" where even a program without any check gets nothing; "a check" where ours refuses,
            and a patched one would not; "the operating system"; or "nothing".
        loot: what the attacker got, or gets with a patched program where a check stopped ours.
        elsewhere: whether the loot can be used on another machine than the licensed one.
    """

    happened: str
    stopped_by: StoppedBy
    loot: Loot = "nothing"
    elsewhere: bool = False


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        name: for the command line and the tests.
        tried: what is tried, for people.
        group: a key of `GROUPS`.
        power: what it takes.
        run: tries it.
        expected: what must stop it, for each tier on which it is tried.
    """

    name: str
    tried: str
    group: str
    power: Power
    run: Callable[[AttackScene], Outcome] = field(repr=False)
    expected: Mapping[Tier, StoppedBy]

    def objection(self, tier: Tier, outcome: Outcome) -> str | None:
        """Returns what is wrong with an outcome; None where it is the expected one.

        Whatever is expected of them, thieves of files and other users must carry no content key and no plaintext away,
        not even with a program of their own: no attack can be registered as an exception to that.
        """
        carried_away = outcome.elsewhere and outcome.loot in ("content key", "plaintext")
        if carried_away and self.power in (Power.FILES, Power.SENDER, Power.OTHER_USER):
            return f"{self.power.value} gets the {outcome.loot} for another machine"
        if outcome.stopped_by is not self.expected[tier]:
            return f"expected to be stopped by {self.expected[tier].value}, and was by {outcome.stopped_by.value}"
        return None


class CannotBeTriedError(Exception):
    """Something that an attack needs is not here: whether it would be stopped, nobody knows then."""


ATTACKS: dict[str, Attack] = {}


def attack(
    group: str,
    power: Power,
    tried: str,
    *,
    software: StoppedBy | None = None,
    tpm: StoppedBy | None = None,
    both: StoppedBy | None = None,
    either: StoppedBy | None = None,
    name: str | None = None,
) -> Callable[[Callable[[AttackScene], Outcome]], Callable[[AttackScene], Outcome]]:
    """Registers a function as an attack.

    Args:
        group, power, tried: as in `Attack`.
        software, tpm: what must stop it on each tier; None where it does not exist there.
        both: short for the same on both tiers.
        either: what must stop it, where the tier makes no difference and it is tried once.
        name: by default, that of the function.
    """
    if group not in GROUPS:
        raise ValueError(group)

    def register(run: Callable[[AttackScene], Outcome]) -> Callable[[AttackScene], Outcome]:
        called = name or run.__name__.replace("_", "-")
        given: dict[Tier, StoppedBy | None] = {"software": software or both, "tpm": tpm or both, "either": either}
        expected = {tier: stop for tier, stop in given.items() if stop is not None}
        if called in ATTACKS or not expected:
            raise ValueError(called)
        ATTACKS[called] = Attack(called, tried, group, power, run, expected)
        return run

    return register


def require(*programs: str) -> None:
    """Raises CannotBeTriedError where a program is missing: what was not tried must not look as if it was stopped."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise CannotBeTriedError(f"needs {', '.join(missing)}, which scripts/install-test-packages installs")
