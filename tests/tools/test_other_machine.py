"""The binding to the machine by the command line: the same files where another machine ID is read."""

import os
from pathlib import Path

import pytest

from licensing.machine import STABLE_SOURCES
from tests.command_line import as_process
from tests.components import need
from tests.story import Story, unchanged

# Whole processes, one after another: left out of the checks before each commit.
pytestmark = pytest.mark.slow


def on_machine(machine_id: Path) -> list[str]:
    """Returns a prefix under which a command reads its machine ID from a file: others see what they saw before."""
    need("unshare")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    sources = [source for source in STABLE_SOURCES if os.path.exists(source)]
    mount = 'machine_id=$1; shift; for source in $SOURCES; do mount --bind "$machine_id" "$source"; done; exec "$@"'
    script = f"SOURCES='{' '.join(sources)}'; set -e; {mount}"
    return ["unshare", *user, "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(machine_id)]


def test_copied_home_and_license_do_not_work_on_another_machine(story: Story, tmp_path: Path) -> None:
    machine_id = tmp_path / "machine-id"
    machine_id.write_text("0123456789abcdef0123456789abcdef\n")
    elsewhere = on_machine(machine_id)
    with unchanged(story.folder):
        as_process(*story.run(tmp_path / "y.npz", "--json"), prefix=elsewhere).refused(3, "machine_mismatch")
        outcome = as_process("status", story.license, "--home", story.customer, "--json", prefix=elsewhere)
        outcome.refused(3, "machine_mismatch")
    reasons = {check["name"]: check.get("reason") for check in outcome.facts["checks"]}
    assert (reasons["hardware"], reasons["device key"]) == ("machine_mismatch", "device_key_mismatch")
    request = ("request", "--gpu", "none", "-o", tmp_path / "box.req", "--home", story.customer, "--json")
    as_process(*request, prefix=elsewhere).refused(3, "device_key_mismatch")


def test_same_machine_id_is_the_same_machine(story: Story, tmp_path: Path) -> None:
    """Without this, the test above could pass because nothing at all works there."""
    source = next(source for source in STABLE_SOURCES if os.path.exists(source))
    machine_id = tmp_path / "machine-id"
    machine_id.write_text(Path(source).read_text())
    as_process(*story.run(tmp_path / "y.npz"), prefix=on_machine(machine_id)).done()


@pytest.mark.parametrize("text", ["", "uninitialized\n", "0" * 32 + "\n"])
def test_machine_without_an_id_is_told_so(text: str, story: Story, tmp_path: Path) -> None:
    machine_id = tmp_path / "machine-id"
    machine_id.write_text(text)
    outcome = as_process(*story.run(tmp_path / "y.npz", "--json"), prefix=on_machine(machine_id))
    outcome.refused(3, "machine_id_unavailable")
    assert any("systemd-machine-id-setup" in hint for hint in outcome.facts["hints"])
