"""Names that few people expect: line breaks, every script, bytes that are no text, and too many of them."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.command_line import as_process, here
from tests.story import Story, unchanged

LINE_BREAK, UNICODE, NO_TEXT = b"new\nline", "Löwe ☃".encode(), b"no\xff\xfetext"
NAMES = [LINE_BREAK, UNICODE, NO_TEXT, b"-x", b" ", b"n" * 255]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("name", [LINE_BREAK, UNICODE, NO_TEXT])
def test_names_are_printed_whatever_the_terminal_can_show(
    name: bytes, encoding: str, story: Story, tmp_path: Path
) -> None:
    path = os.fsencode(tmp_path) + b"/" + name
    shutil.copy(os.fsencode(story.license), path)
    variables = {"PYTHONIOENCODING": encoding}
    assert as_process("inspect", path, variables=variables).done().stdout.startswith("license: /")
    missing = as_process("inspect", path + b".missing", "--json", variables=variables)
    assert (missing.code, missing.facts["reason"]) == (1, "file_not_found")
    assert missing.stderr.startswith("weightlock: there is no file '/")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_outputs_and_homes_can_have_any_name(name: bytes, story: Story, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    facts = here("request", "--gpu", "none", "-o", odd, "--home", tmp_path / "home" / odd.name, "--json").done().facts
    assert facts["output"] == str(odd)
    assert here("inspect", odd, "--json").done().facts["device"] == facts["device"]
    assert os.listdir(os.fsencode(tmp_path / "home")) == [name]
    odd.unlink()
    here(*story.run(odd)).done()
    assert here("vendor", "init", "--name", "V", "--home", tmp_path / "vendor" / odd.name).code == 0
    assert sorted(os.listdir(os.fsencode(tmp_path))) == sorted([name, b"home", b"vendor"])


@pytest.mark.parametrize("name", [UNICODE, b"-x", b" "], ids=ascii)
def test_models_can_have_every_name_that_is_text(name: bytes, story: Story, tmp_path: Path) -> None:
    vendor = shutil.copytree(story.vendor, tmp_path / "vendor")
    model = Path(shutil.copy(story.plain, Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))))
    facts = here("encrypt", model, "-o", tmp_path / "net.locked", "--home", vendor, "--json").done().facts
    assert facts["name"] == name.decode()
    (record,) = [
        each for each in here("models", "--home", vendor, "--json").facts["models"] if each["name"] == facts["name"]
    ]
    assert record["model_id"] == facts["model_id"]
    here("decrypt", tmp_path / "net.locked", "-o", tmp_path / "back", "--home", vendor).done()
    assert (tmp_path / "back").read_bytes() == story.plain.read_bytes()


@pytest.mark.parametrize("name", [LINE_BREAK, NO_TEXT], ids=ascii)
def test_models_whose_names_a_container_cannot_hold_are_refused(name: bytes, story: Story, tmp_path: Path) -> None:
    model = Path(shutil.copy(story.plain, Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))))
    with unchanged(story.folder), unchanged(tmp_path):
        outcome = here("encrypt", model, "-o", tmp_path / "net.locked", "--home", story.vendor, "--json")
        outcome.refused(4, "model_source_invalid")


@pytest.mark.parametrize("text", ["", "new\nline", "\x1b[31mred", "\udcff", "n" * 201], ids=ascii)
def test_names_for_people_are_printable_and_not_too_long(text: str, story: Story, tmp_path: Path) -> None:
    """They are printed on other people's terminals."""
    output = tmp_path / "output"
    with unchanged(story.folder), unchanged(tmp_path):
        encrypt = ("encrypt", story.plain, "-o", output, "--home", story.vendor)
        here(*encrypt, "--name", text, "--json").refused(4, "model_source_invalid")
        here(*story.issue(output, "--days", "3", "--customer", text), "--json").refused(2, "usage")
        here(*story.issue(output, "--days", "3", "--feature", text), "--json").refused(2, "usage")
        here("vendor", "init", "--name", text, "--home", tmp_path / "vendor", "--json").refused(2, "usage")


def test_json_is_one_object_of_plain_characters(story: Story, tmp_path: Path) -> None:
    output = tmp_path / os.fsdecode(NO_TEXT)
    ended = as_process(*story.run(output), "--json", variables={"PYTHONIOENCODING": "ascii"}).done()
    assert ended.stdout.isascii()
    assert json.loads(ended.stdout)["output"] == str(output)
