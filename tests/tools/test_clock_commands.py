"""The clock by the command line: `faketime` around whole commands, a lost state, and the vendor's way out."""

import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from licensing.device_key import open_device_key
from licensing.machine import read_machine
from licensing.time_state import start_state
from tests.command_line import as_process, here, obeying_modes
from tests.components import need
from tests.story import Story, unchanged


@pytest.fixture
def own(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    """Returns a copy of the story, with a state directory that nobody else uses."""
    monkeypatch.setenv("WEIGHTLOCK_STATE", str(tmp_path / "state"))
    return story.copied(tmp_path / "own")


def state_file(own: Story) -> Path:
    return own.customer / "time-state.json"


def status(own: Story, code: int = 3, reason: str = "", license: Path | None = None) -> None:
    outcome = here("status", license or own.license, "--home", own.customer, "--json")
    if reason:
        outcome.refused(code, reason)
    else:
        outcome.done()


def reset(own: Story, output: Path) -> Path:
    here("reset-clock", own.request, "-o", output, "--home", own.vendor).done()
    return output


# A process that is shown another clock.


def faked(offset: str) -> list[str]:
    need("faketime")
    return ["faketime", "-f", offset]


@pytest.mark.parametrize("command", ["run", "status"])
def test_faketime_cannot_bring_an_earlier_day_back(command: str, own: Story, tmp_path: Path) -> None:
    """Three days before today, the license had begun already, and only witnesses tell that it is not that day."""
    here(*own.issue(tmp_path / "long.lic", "--days", "90", "--not-before", "2020-01-01")).done()
    arguments: tuple[str | Path, ...] = ("status", tmp_path / "long.lic", "--home", own.customer)
    if command == "run":
        arguments = own.run(tmp_path / "y.npz", license=tmp_path / "long.lic")
    with unchanged(own.folder):
        outcome = as_process(*arguments, "--json", prefix=faked("-3d"))
        assert "say that it is later" in outcome.refused(3, "clock_faked")
    here(*arguments, "--json").done()
    assert (tmp_path / "y.npz").exists() == (command == "run")


@pytest.mark.slow
def test_faketime_cannot_apply_a_clock_reset_late(own: Story, tmp_path: Path) -> None:
    file = reset(own, tmp_path / "box.reset")
    apply = ("apply", file, "--home", own.customer, "--json")
    as_process(*apply, prefix=faked("+8d")).refused(3, "expired")
    as_process(*apply, prefix=faked("-2h")).refused(3, "not_yet_valid")
    as_process(*apply, prefix=faked("-30m")).refused(3, "clock_faked")
    as_process(*apply).done()


# The vendor's way out.


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "clock_state_missing"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b'"highest":1', b'"highest":0')),
            "clock_state_invalid",
        ),
    ],
)
def test_a_clock_reset_mends_a_spoiled_state_once(
    spoil: Callable[[Path], None], reason: str, own: Story, tmp_path: Path
) -> None:
    spoil(state_file(own))
    status(own, reason=reason)
    here(*own.run(tmp_path / "y.npz", "--json")).refused(3, reason)
    file = reset(own, tmp_path / "box.reset")
    apply = ("apply", file, "--home", own.customer, "--json")
    facts = here(*apply).done().facts
    assert (facts["vendor"], facts["home"]) == ("Löwe AI", str(own.customer))
    status(own)
    here(*own.run(tmp_path / "y.npz")).done()
    here(*apply).refused(3, "clock_reset_used")
    status(own)


def test_what_the_commands_print(own: Story, tmp_path: Path) -> None:
    outcome = here("reset-clock", own.request, "-o", tmp_path / "r", "--home", own.vendor).done()
    assert outcome.stdout.startswith("the box can apply it once, until ")
    here("reset-clock", own.request, "-o", tmp_path / "r", "--home", own.vendor, "--json").refused(2, "output_exists")
    facts = (
        here("reset-clock", own.request, "-o", tmp_path / "r", "--home", own.vendor, "--json", "--force").done().facts
    )
    assert (facts["output"], set(facts)) == (str(tmp_path / "r"), {"ok", "output", "expires"})
    outcome = here("apply", tmp_path / "r", "--home", own.customer).done()
    assert outcome.stdout.endswith("as 'Löwe AI' allows\n")


def test_a_request_does_not_make_a_lost_state_again(own: Story, tmp_path: Path) -> None:
    state_file(own).unlink()
    outcome = here("request", "--gpu", "none", "-o", tmp_path / "again.req", "--home", own.customer).done()
    assert outcome.stdout.startswith("used the device key ")
    assert not state_file(own).exists()
    status(own, reason="clock_state_missing")
    here("reset-clock", tmp_path / "again.req", "-o", tmp_path / "r", "--home", own.vendor).done()
    here("apply", tmp_path / "r", "--home", own.customer).done()
    status(own)


def test_a_home_of_the_customer_s_own_as_vendor_does_not_help(own: Story, tmp_path: Path) -> None:
    """All of it with the installed commands, and nothing patched."""
    state_file(own).unlink()
    mine = tmp_path / "mine"
    here("vendor", "init", "--name", "Löwe AI", "--home", mine)
    here("reset-clock", own.request, "-o", tmp_path / "r", "--home", mine).done()
    apply = ("apply", tmp_path / "r", "--home", own.customer)
    here(*apply, "--json").refused(3, "untrusted_vendor")
    here(*apply, "--trust", mine / "trust.jwks").done()
    status(own, reason="clock_state_invalid")


@pytest.mark.parametrize("data", [b"", b"{}", b"x" * 20000, b'{"clock_reset":"a.b.c"}'])
def test_files_that_are_no_clock_reset(data: bytes, own: Story, tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(data)
    with unchanged(own.folder):
        here("apply", tmp_path / "r", "--home", own.customer, "--json").refused(3, "clock_reset_malformed")
    here("apply", tmp_path / "nowhere", "--home", own.customer, "--json").refused(1, "file_not_found")
    here("apply", own.license, "--home", own.customer, "--json").refused(3, "clock_reset_malformed")


def last_seen(own: Story, ago: timedelta) -> None:
    """Makes the time state one of a box that was used last so long ago."""
    device_key = open_device_key(own.customer, read_machine())
    start_state(own.customer, device_key, datetime.now(timezone.utc) - ago)


def test_a_home_that_cannot_be_written_says_so(own: Story, tmp_path: Path) -> None:
    last_seen(own, timedelta(days=5))
    own.customer.chmod(0o500)
    for arguments in (own.run(tmp_path / "y.npz"), ("status", own.license, "--home", own.customer)):
        outcome = as_process(*arguments, "--json", prefix=obeying_modes())
        assert "cannot be stored" in outcome.refused(3, "clock_state_unwritable")
        assert "must be writable" in outcome.facts["hints"][0]
    own.customer.chmod(0o700)
    here(*own.run(tmp_path / "y.npz")).done()
    own.customer.chmod(0o500)
    as_process(*own.run(tmp_path / "y.npz", "--force"), prefix=obeying_modes()).done()
    own.customer.chmod(0o700)


@pytest.mark.slow
def test_days_of_a_clock_that_is_set(own: Story, tmp_path: Path) -> None:
    """The same by setting the clock: `faketime` ahead stands for a clock that was ahead, and then put right."""
    run = own.run(tmp_path / "y.npz", "--force", "--json")
    as_process(*run, prefix=faked("+5d")).done()
    as_process(*run).done()
    for days in ("+5d", "+9d"):
        as_process(*run, prefix=faked(days)).done()
    as_process(*run).refused(3, "clock_rollback")
    as_process(*run, prefix=faked("+9d")).done()
    here("apply", reset(own, tmp_path / "box.reset"), "--home", own.customer).done()
    as_process(*run).done()
    as_process(*run, prefix=faked("+40d")).done()
    as_process(*run).done()


# What the vendor chooses.


def test_grace_and_step_back_are_in_the_license(own: Story, tmp_path: Path) -> None:
    for options, policy in (
        ((), {}),
        (("--grace-days", "14"), {"grace": 14 * 86400}),
        (("--clock-step-back", "0"), {"step_back": 0}),
        (("--grace-days", "366", "--clock-step-back", "8784"), {"grace": 366 * 86400, "step_back": 8784 * 3600}),
    ):
        here(*own.issue(tmp_path / "x.lic", "--days", "3", "--force", *options)).done()
        payload = json.loads((tmp_path / "x.lic").read_bytes())["license"].split(".")[1]
        assert json.loads(base64.urlsafe_b64decode(payload + "=="))["policy"] == policy
    for wrong in (("--grace-days", "367"), ("--clock-step-back", "-1"), ("--grace-days", "x")):
        here(*own.issue(tmp_path / "y.lic", "--days", "3", *wrong), "--json").refused(2, "usage")


@pytest.mark.slow
def test_a_run_warns_on_standard_error(own: Story, tmp_path: Path) -> None:
    here(*own.issue(tmp_path / "x.lic", "--days", "3")).done()
    outcome = as_process(*own.run(tmp_path / "y.npz", license=tmp_path / "x.lic"))
    assert outcome.code == 0
    assert outcome.stderr.startswith("weightlock: warning: the license ends at ")
    assert outcome.stderr.count("\n") == 1
