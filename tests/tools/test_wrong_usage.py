"""Commands that cannot be meant: exit code 2, a sentence that says what is wrong, and nothing is made."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import here
from tests.story import Story, unchanged

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"

Arguments = tuple[str | Path, ...]


def encrypt(*options: str) -> Callable[[Story, Path], Arguments]:
    return lambda story, output: ("encrypt", story.plain, "-o", output, "--home", story.vendor, *options)


def issue(*options: str) -> Callable[[Story, Path], Arguments]:
    return lambda story, output: story.issue(output, *options)


def run(*options: str) -> Callable[[Story, Path], Arguments]:
    return lambda story, output: story.run(output, *options)


def request(*options: str) -> Callable[[Story, Path], Arguments]:
    return lambda story, output: ("request", "-o", output, "--home", story.customer, *options)


def plain(*arguments: str) -> Callable[[Story, Path], Arguments]:
    return lambda story, output: arguments


def vendor(*arguments: str | Path) -> Callable[[Story, Path], Arguments]:
    return lambda story, output: (*arguments, "-o", output, "--home", story.vendor)


WRONG: list[tuple[Callable[[Story, Path], Arguments], str, str]] = [
    (plain("nonsense"), "usage", "no such command 'nonsense'"),
    (plain("vendor", "nonsense"), "usage", "no such command 'nonsense'"),
    (plain("inspect"), "usage", "missing argument"),
    (plain("encrypt", "net.onnx"), "usage", "missing option"),
    (plain("inspect", "a\0b"), "usage", "null"),
    (encrypt("--nonsense"), "usage", "no such option"),
    (encrypt("superfluous"), "usage", "unexpected extra argument"),
    (encrypt("--threads", "0"), "usage", "--threads"),
    (encrypt("--threads", "many"), "usage", "--threads"),
    (encrypt("--type", "nonsense"), "model_type_unknown", "no model type 'nonsense'"),
    (issue(), "usage", "either --days or --until"),
    (issue("--days", "3", "--until", "2999-01-01"), "usage", "either --days or --until"),
    (issue("--days", "0"), "usage", "--days"),
    (issue("--days", "2999999"), "usage", "after the year 9999"),
    (issue("--until", "9999-12-31"), "usage", "after the year 9999"),
    (issue("--until", "2020-01-01"), "usage", "would have ended before it is issued"),
    (issue("--until", "tomorrow"), "usage", "'tomorrow' is not a date"),
    (issue("--until", "2999-02-29"), "usage", "'2999-02-29' is not a date"),
    (issue("--until", "2999-01-01T10:00"), "usage", "has no time zone"),
    (issue("--days", "3", "--not-before", "2999-01-01T10:00"), "usage", "has no time zone"),
    (issue("--days", "3", "--not-before", "2999-01-01"), "usage", "would end before it begins"),
    (issue("--days", "3", "-m", "nonsense"), "usage", "neither a locked model nor a model id"),
    (issue("--days", "3", "-m", UNKNOWN_ID), "unknown_model", "no model"),
    (vendor("licenses", "--export", UNKNOWN_ID), "unknown_license", "no license"),
    (vendor("licenses", "--export", "nonsense"), "unknown_license", "no license"),
    (vendor("licenses"), "usage", "--export and -o belong together"),
    (run("--device", "tpu"), "usage", "no device 'tpu'"),
    (run("--architecture", "net.py:Net"), "usage", "bring their architecture with them"),
    (run("--allow-pickle"), "usage", "are no pickles"),
    (request("--gpu", "7"), "usage", "no GPU '7'"),
    (request("--gpu", "none", "--gpu", "0"), "usage", "no GPU"),
    (request("--gpu", ""), "usage", "no GPU ''"),
]


@pytest.mark.parametrize(
    ("arguments", "reason", "words"), WRONG, ids=[f"{words}-{i}" for i, (_, _, words) in enumerate(WRONG)]
)
def test_wrong_usage_is_said_and_does_nothing(
    arguments: Callable[[Story, Path], Arguments], reason: str, words: str, story: Story, tmp_path: Path
) -> None:
    with unchanged(story.folder), unchanged(tmp_path):
        sentence = here(*arguments(story, tmp_path / "output"), "--json").refused(2, reason)
    assert words.lower() in sentence.lower()


def test_model_that_is_named_twice_is_refused(story: Story, tmp_path: Path) -> None:
    arguments = story.issue(tmp_path / "output", "--days", "3", "-m", str(story.locked))
    with unchanged(story.folder), unchanged(tmp_path):
        assert "each once" in here(*arguments, "--json").refused(2, "usage")


def test_request_without_gpu_needs_the_vendors_word(story: Story, tmp_path: Path) -> None:
    arguments = [each for each in story.issue(tmp_path / "output", "--days", "3") if each != "--allow-no-gpu"]
    with unchanged(story.folder), unchanged(tmp_path):
        here(*arguments, "--json").refused(3, "gpu_required")


@pytest.mark.parametrize(
    ("home", "reason"),
    [("vendor", "vendor_home_exists"), ("folder", "vendor_home_not_empty"), ("plain", "storage_failed")],
)
def test_vendors_home_is_made_only_in_an_empty_place(home: str, reason: str, story: Story) -> None:
    with unchanged(story.folder):
        arguments = ("vendor", "init", "--name", "Other", "--home", getattr(story, home))
        here(*arguments, "--json").refused(1, reason)


@pytest.mark.parametrize("command", ["models", "licenses", "encrypt", "decrypt", "issue"])
def test_vendor_without_a_home_is_told_how_to_make_one(command: str, story: Story, tmp_path: Path) -> None:
    output = tmp_path / "output"
    arguments: dict[str, Arguments] = {
        "encrypt": ("encrypt", story.plain, "-o", output),
        "decrypt": ("decrypt", story.locked, "-o", output),
        "issue": story.issue(output, "--days", "3"),
    }
    with unchanged(story.folder), unchanged(tmp_path):
        outcome = here(*arguments.get(command, (command,)), "--home", tmp_path / "missing", "--json")
        outcome.refused(1, "vendor_home_missing")
    assert any("vendor init" in hint for hint in outcome.facts["hints"])
