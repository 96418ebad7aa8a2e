"""What the attacks came to, for the terminal and as docs/attacks.md."""

import textwrap
from collections.abc import Iterable

from tests.attacks.attack import TIERS, StoppedBy
from tests.attacks.runner import Result

__all__ = ["markdown", "table", "told"]

COLUMNS = 100
ORDER = (StoppedBy.NOTHING, StoppedBy.CHECK, StoppedBy.SYSTEM, StoppedBy.CRYPTOGRAPHY)
"""Attacks that succeed come first, and then by how little it would take to make them succeed."""

TITLES = {"software": "The tier `software`", "tpm": "The tier `tpm`", "either": "Where the tier makes no difference"}

PREAMBLE = """# What was attacked, and what stopped it

`make attack` tries every attack below for real and writes this page; nothing on it is written by hand.
`scripts/install-test-packages` installs what it needs.

**Where the lock does not hold, first.** The *same user* on the licensed machine, who runs the model, can carry the
content key away, on both tiers: by a program without checks, or by code put into ours through `PYTHONPATH`. In the
tier `software`, this user can also copy the device key's file and pretend the machine elsewhere. Run locked models
under an account of their own, to which the people who are not trusted with the model have no access: they are
*another user* then. Root can read the model from memory. Dates, the clock, and what judges drivers are checks: a
patched program goes on without them, on the licensed machine.

A file thief, a file's sender and another user carry nothing away, on both tiers; the run fails if they ever do.

| power | what the attacker can do on the licensed machine |
| --- | --- |
| a file thief | has copies of the model, license and home; not the machine ID: who takes the whole disk is root here |
| a file's sender | sends a model or a license that somebody opens |
| another user | has an account, and not that of the one who runs the model |
| the same user | has the account that runs the model |
| root | everything, also at the clock and at the host of a virtual machine |

On machines of their own, all of them are root and know every GPU's UUID, unless a row says otherwise.

**Cryptography** stops an attack if a program that follows the specification and checks nothing
(`tests/attacks/cheat.py`), given all that the attacker has, derives no content key. **A check** stops it if only
our program refuses, and that program goes on. The GPU is a stand-in: a library that reports what a test wants, or a
reading on paper. The TPM is a software TPM behind the real protocol. Where root sets the clock, unlocking is given
a clock that says so.
"""


def told(result: Result) -> str:
    """Returns what came of one attack, in at most 100 columns."""
    outcome = result.outcome
    lines = [f"[{result.tier}] {result.attack.name}"]
    lines += _wrapped("tried", f"{result.attack.tried} ({result.attack.power.value})")
    if outcome is not None:
        lines += [*_wrapped("happened", outcome.happened), *_wrapped("stopped by", outcome.stopped_by.value)]
    if result.wrong:
        lines += _wrapped("WRONG", result.wrong)
    return "\n".join(lines)


def _wrapped(name: str, text: str) -> list[str]:
    return textwrap.wrap(f"{name + ':':<12}{text}", COLUMNS - 2, initial_indent="  ", subsequent_indent=" " * 14)


def table(results: Iterable[Result]) -> str:
    """Returns one line for each attack, those that succeed first."""
    lines = []
    for result in sorted_results(results):
        stopped = "not tried" if result.outcome is None else result.outcome.stopped_by.value
        mark = "!" if result.wrong else " "
        lines.append(
            f"{mark} {result.tier:<9}{stopped:<21}{result.attack.power.value:<16}{result.attack.name:<50}".rstrip()
        )
    return "\n".join(lines)


def sorted_results(results: Iterable[Result]) -> list[Result]:
    """Returns results by tier, and by what stopped them; what could not be tried comes first of all."""

    def place(result: Result) -> tuple[int, int]:
        stopped = -1 if result.outcome is None else ORDER.index(result.outcome.stopped_by)
        return TIERS.index(result.tier), stopped

    return sorted(results, key=place)


def markdown(results: Iterable[Result]) -> str:
    """Returns docs/attacks.md."""
    parts = [PREAMBLE]
    ordered = sorted_results(results)
    for tier in TIERS:
        rows = [result for result in ordered if result.tier == tier]
        if rows:
            parts.append(
                f"\n## {TITLES[tier]}\n\n| tried | power | what happened | stopped by |\n| --- | --- | --- | --- |\n"
            )
            parts += [_row(result) for result in rows]
    return "".join(parts)


def _row(result: Result) -> str:
    outcome = result.outcome
    if outcome is None:
        return f"| {result.attack.tried} | {result.attack.power.value} | {result.wrong} | **not tried** |\n"
    loot = "" if outcome.loot == "nothing" else f" ({outcome.loot}{', also elsewhere' if outcome.elsewhere else ''})"
    stopped = f"**nothing**{loot}" if outcome.stopped_by is StoppedBy.NOTHING else outcome.stopped_by.value
    return f"| {result.attack.tried} | {result.attack.power.value} | {outcome.happened} | {stopped} |\n"
