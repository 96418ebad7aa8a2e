"""`python -m tests.attacks`: tries the attacks, and says what stopped them."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from tests.attacks.attack import ATTACKS, TIERS
from tests.attacks.report import markdown, table, told
from tests.attacks.runner import Result, chosen, run_attacks

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Runs the command; returns 1 if any attack ended otherwise than expected, or the page is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--tier", choices=["software", "tpm"], help="only this tier")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", choices=sorted(ATTACKS))
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("-o", "--output", type=Path, help="the page to write")
    parser.add_argument("--check", type=Path, help="a page that must be what would be written")
    options = parser.parse_args(arguments)
    tiers = TIERS if options.tier is None else tuple(tier for tier in TIERS if tier in (options.tier, "either"))
    results = run_attacks(
        chosen(tiers, options.only), lambda result: None if options.json else print(told(result), flush=True)
    )
    wrong = [result for result in results if result.wrong]
    print(json.dumps([_facts(result) for result in results]) if options.json else f"\n{table(results)}")
    if not options.json:
        print(f"\n{len(results)} attacks; {len(wrong)} ended otherwise than expected")
    page = markdown(results)
    if options.output and not wrong:
        options.output.write_text(page, encoding="utf-8")
    differs = bool(options.check) and options.check.read_text(encoding="utf-8") != page
    return 1 if wrong or differs else 0


def _facts(result: Result) -> dict[str, object]:
    outcome = result.outcome
    happened = None if outcome is None else {**dataclasses.asdict(outcome), "stopped_by": outcome.stopped_by.value}
    attack = result.attack
    facts = {"name": attack.name, "tier": result.tier, "tried": attack.tried, "power": attack.power.value}
    return {**facts, "outcome": happened, "wrong": result.wrong}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
