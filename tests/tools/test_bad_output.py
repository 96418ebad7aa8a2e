"""Outputs that are in the way: what exists is kept unless `--force` is said, and an input is never overwritten."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import here
from tests.story import Story, unchanged

Arguments = tuple[str | Path, ...]

COMMANDS: dict[str, Callable[[Story, Path], Arguments]] = {
    "encrypt": lambda story, output: ("encrypt", story.plain, "-o", output, "--home", story.vendor),
    "decrypt": lambda story, output: ("decrypt", story.locked, "-o", output, "--home", story.vendor),
    "issue": lambda story, output: story.issue(output, "--days", "3"),
    "licenses": lambda story, output: (
        *("licenses", "--export", license_id(story), "-o", output),
        *("--home", story.vendor),
    ),
    "request": lambda story, output: ("request", "--gpu", "none", "-o", output, "--home", story.customer),
    "run": lambda story, output: story.run(output),
}


def license_id(story: Story) -> str:
    return str(here("inspect", story.license, "--json").done().facts["license_id"])


@pytest.fixture
def own(story: Story, tmp_path: Path) -> Story:
    """Returns a copy of the story that a test may spoil."""
    return story.copied(tmp_path / "own")


@pytest.mark.parametrize("what", ["file", "link", "link to nothing", "folder", "pipe"])
@pytest.mark.parametrize("command", COMMANDS)
def test_existing_output_is_kept(command: str, what: str, own: Story, tmp_path: Path) -> None:
    output = tmp_path / "output"
    (tmp_path / "other").write_bytes(b"precious")
    if what == "file":
        output.write_bytes(b"precious")
    elif what == "folder":
        output.mkdir()
    elif what == "pipe":
        os.mkfifo(output)
    else:
        output.symlink_to(tmp_path / ("other" if what == "link" else "nothing"))
    expected = (1, "not_a_file") if what == "folder" else (2, "output_exists")
    with unchanged(tmp_path):
        here(*COMMANDS[command](own, output), "--json").refused(*expected)


@pytest.mark.parametrize("command", COMMANDS)
def test_existing_file_is_replaced_on_demand(command: str, own: Story, tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.write_bytes(b"old")
    here(*COMMANDS[command](own, output), "--force").done()
    assert output.stat().st_size > 100
    assert sorted(os.listdir(tmp_path)) == ["output", "own"]


@pytest.mark.parametrize("what", ["folder", "pipe"])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_file_is_not_replaced_on_demand(command: str, what: str, own: Story, tmp_path: Path) -> None:
    """Replacing goes by renaming: it would turn /dev/null into a file."""
    output = tmp_path / "output"
    if what == "folder":
        output.mkdir()
    else:
        os.mkfifo(output)
    with unchanged(tmp_path):
        here(*COMMANDS[command](own, output), "--force", "--json").refused(1, "not_a_file")
    assert output.is_fifo() or output.is_dir()


INPUTS = {
    "encrypt": ["plain"],
    "decrypt": ["locked"],
    "issue": ["request", "locked"],
    "run": ["locked", "license", "inputs", "trust"],
}


@pytest.mark.parametrize("way", ["same path", "relative path", "hard link", "symbolic link"])
@pytest.mark.parametrize(("command", "name"), [(command, name) for command in INPUTS for name in INPUTS[command]])
def test_an_input_is_never_the_output(
    command: str, name: str, way: str, own: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file: Path = getattr(own, name)
    output = file
    if way == "relative path":
        monkeypatch.chdir(own.customer)
        output = Path(os.path.relpath(file, own.customer))
    elif way == "hard link":
        output = tmp_path / "output"
        output.hardlink_to(file)
    elif way == "symbolic link":
        output = tmp_path / "output"
        output.symlink_to(file)
    with unchanged(tmp_path):
        here(*COMMANDS[command](own, output), "--force", "--json").refused(2, "output_is_input")


@pytest.mark.parametrize("named", ["folder", "file"])
def test_external_data_of_a_model_is_an_input_too(named: str, own: Story) -> None:
    model = own.plain_folder if named == "folder" else own.plain_folder / "net.onnx"
    arguments = ("encrypt", model, "-o", own.plain_folder / "net.data", "--home", own.vendor, "--force", "--json")
    with unchanged(own.folder):
        here(*arguments).refused(2, "output_is_input")


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_folder_is_decrypted_only_into_a_new_or_an_empty_one(
    options: tuple[str, ...], own: Story, tmp_path: Path
) -> None:
    full, empty = tmp_path / "full", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "precious").write_bytes(b"precious")
    arguments: Arguments = ("decrypt", own.locked_folder, "--home", own.vendor, *options)
    with unchanged(tmp_path):
        here(*arguments, "-o", full, "--json").refused(2, "output_exists")
        here(*arguments, "-o", full / "precious", "--json").refused(2, "output_exists")
    here(*arguments, "-o", empty).done()
    assert {path.name: path.read_bytes() for path in empty.iterdir()} == {
        path.name: path.read_bytes() for path in own.plain_folder.iterdir()
    }
