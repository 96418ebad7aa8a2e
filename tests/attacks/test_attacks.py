"""Every attack ends as expected, and docs/attacks.md says so."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.attacks import __main__ as command
from tests.attacks.attack import ATTACKS, TIERS, Attack, Outcome, Power, StoppedBy, Tier
from tests.attacks.claims import EDITS
from tests.attacks.report import markdown, sorted_results
from tests.attacks.runner import Result, chosen, run_attack
from tests.attacks.scene import AttackScene, made_scene
from tests.command_line import ROOT

pytestmark = pytest.mark.slow

Try = Callable[[Attack, Tier], Result]

REQUIRED = {
    *("copy-everything", "copy-everything-and-pretend-the-machine", "spoof-nvml-by-ld-library-path"),
    *("spoof-nvml-by-ld-preload", "spoof-nvml-by-a-mount", "swap-the-gpu", *(f"edit-{claim}" for claim in EDITS)),
    *("alg-none", "hs256-with-the-public-key", "jwk-injection", "jku-injection", "x5c-injection", "kid-games"),
    *("crit-in-the-header", "duplicate-members", "wrong-typ", "token-of-another-kind", "grant-of-another-license"),
    *("grant-of-another-customer", "license-of-another-customer", "trust-file-of-another-vendor", "faketime"),
    *("set-the-clock-back", "delete-the-time-state", "restore-an-older-time-state"),
    *("copy-the-time-state-of-another-box", "replay-a-license-that-has-ended", "patch-out-the-trust-file"),
    *("patch-out-the-signature", "patch-out-the-claims", "patch-out-the-dates", "patch-out-the-model"),
    *("patch-out-the-machine", "patch-out-the-gpu", "patch-out-the-device-key", "patch-out-the-dates-and-the-clock"),
    *("read-the-memory", "read-the-proc-entries", "read-the-core-dump", "find-plaintext-on-the-disk"),
    *("find-the-weights-in-pages-that-can-be-swapped", "find-plaintext-in-temporary-directories"),
    *("inject-through-pythonpath", "malicious-pickle", "decompression-bomb", "index-bomb", "index-that-escapes"),
    *("steal-the-device-key-file", "software-tpm-posing-as-a-real-one", "copy-the-blobs-to-another-tpm"),
}
"""What the attack suite is to hold, written down from its specification."""


@pytest.fixture(scope="session")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Try]:
    """Returns what tries an attack, once for all tests."""
    results: dict[tuple[str, Tier], Result] = {}
    scenes: dict[Tier, AttackScene] = {}
    with ExitStack() as stack:

        def result_of(attack: Attack, tier: Tier) -> Result:
            if (attack.name, tier) not in results:
                of_tier: Tier = "software" if tier == "either" else tier
                if of_tier not in scenes:
                    scenes[of_tier] = stack.enter_context(made_scene(of_tier, tmp_path_factory.mktemp(of_tier)))
                results[attack.name, tier] = run_attack(attack, tier, scenes[of_tier])
            return results[attack.name, tier]

        yield result_of


@pytest.mark.parametrize(("attack", "tier"), [pytest.param(a, t, id=f"{t}-{a.name}") for a, t in chosen(TIERS)])
def test_attack_ends_as_expected(attack: Attack, tier: Tier, tried: Try) -> None:
    assert tried(attack, tier).wrong is None


def test_nothing_that_was_asked_for_is_missing() -> None:
    assert set(ATTACKS) >= REQUIRED


def test_the_page_is_what_the_run_gives(tried: Try) -> None:
    page = markdown(tried(attack, tier) for attack, tier in chosen(TIERS))
    assert (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8") == page


def _result(stopped_by: StoppedBy) -> Result:
    attack = replace(ATTACKS["copy-everything"], expected={"software": stopped_by})
    return Result(attack, "software", Outcome("", stopped_by), None)


def test_attacks_that_succeed_come_first() -> None:
    ordered = sorted_results([_result(each) for each in StoppedBy])
    assert ordered[0].outcome is not None
    assert ordered[0].outcome.stopped_by is StoppedBy.NOTHING


@pytest.mark.parametrize("power", [Power.FILES, Power.SENDER, Power.OTHER_USER])
def test_no_expectation_excuses_what_the_weak_carry_away(power: Power) -> None:
    attack = replace(ATTACKS["copy-everything"], power=power, expected={"software": StoppedBy.NOTHING})
    outcome = Outcome("", StoppedBy.NOTHING, "content key", elsewhere=True)
    assert attack.objection("software", outcome) is not None
    assert replace(attack, power=Power.ROOT).objection("software", outcome) is None


def test_a_surprise_ends_with_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    surprising = replace(_result(StoppedBy.CHECK), wrong="a surprise")
    monkeypatch.setattr(command, "run_attacks", lambda *arguments: [surprising])
    assert command.main(["-o", str(tmp_path / "page.md")]) == 1
    assert not (tmp_path / "page.md").exists()
    monkeypatch.setattr(command, "run_attacks", lambda *arguments: [_result(StoppedBy.CHECK)])
    assert command.main([]) == 0


def test_what_cannot_be_tried_is_never_stopped() -> None:
    result = run_attack(ATTACKS["copy-everything"], "software", None)  # type: ignore[arg-type]
    assert result.outcome is None
    assert result.wrong is not None
