"""Tries attacks, and judges what came of them."""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.attacks import (  # noqa: F401 (importing registers the attacks)
    claims,
    clock,
    clock_replays,
    copying,
    gpu,
    hostile,
    keys,
    mixing,
    patching,
    plaintext,
    process,
    tokens,
    tpm_keys,
)
from tests.attacks.attack import ATTACKS, TIERS, Attack, Outcome, Tier
from tests.attacks.scene import AttackScene, made_scene

__all__ = ["Result", "chosen", "run_attack", "run_attacks"]


@dataclass(frozen=True)
class Result:
    """What came of one attack on one tier: an outcome, or why it could not be tried; and what is wrong with that."""

    attack: Attack
    tier: Tier
    outcome: Outcome | None
    wrong: str | None


def chosen(tiers: Iterable[Tier], names: Iterable[str] = ()) -> list[tuple[Attack, Tier]]:
    """Returns the attacks of some tiers and names, in their order; without names, all."""
    wanted = set(names)
    return [
        (attack, tier)
        for tier in TIERS
        if tier in tiers
        for attack in ATTACKS.values()
        if tier in attack.expected and (not wanted or attack.name in wanted)
    ]


def run_attack(attack: Attack, tier: Tier, scene: AttackScene) -> Result:
    """Tries one attack. Whatever fails, an attack that was not tried to its end never counts as stopped."""
    try:
        outcome = attack.run(scene)
        scene.check()
    except Exception as error:
        return Result(attack, tier, None, f"could not be tried: {type(error).__name__}: {error}")
    return Result(attack, tier, outcome, attack.objection(tier, outcome))


def run_attacks(
    attacks: list[tuple[Attack, Tier]], tell: Callable[[Result], object] = lambda result: None
) -> list[Result]:
    """Tries attacks, each tier on one scene that they share."""
    logging.getLogger("weightlock").addHandler(logging.NullHandler())  # Licenses end here all the time.
    return list(_run(attacks, tell))


def _run(attacks: list[tuple[Attack, Tier]], tell: Callable[[Result], object]) -> Iterator[Result]:
    scenes: dict[str, AttackScene] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="attacks-", ignore_cleanup_errors=True)))
        for attack, tier in attacks:
            of_tier: Tier = "software" if tier == "either" else tier
            if of_tier not in scenes:
                (place := folder / of_tier).mkdir()
                scenes[of_tier] = stack.enter_context(made_scene(of_tier, place))
            result = run_attack(attack, tier, scenes[of_tier])
            tell(result)
            yield result
