"""`weightlock doctor` and `weightlock request --prove` as their users meet them, in conditions that are real."""

import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from licensing import checkup
from licensing.checkup import check_up
from licensing.start_history import history_path
from licensing.surroundings import System
from tests.clocked_box import DAY, HOUR, ClockedBox, StandInClock
from tests.command_line import Outcome, as_process, here
from tests.containers import in_container
from tests.fake_nvml import Box, FakeGpu, FakeNvml
from tests.fake_system import SystemBuilder
from tests.lock_scene import NOW, OTHER_MACHINE
from tests.small_disk import SmallDisk
from tests.story import Story, unchanged
from tests.tools.test_other_machine import on_machine

ONE, OTHER = "1" * 32, "2" * 32


def levels(outcome: Outcome) -> dict[str, str]:
    """Returns the level of each code that was found."""
    return {finding["code"]: finding["level"] for finding in outcome.facts["findings"]}


def finding(outcome: Outcome, code: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in outcome.facts["findings"] if each["code"] == code)
    return found


# What it says, and how it ends.


def box_findings(box: ClockedBox, since: timedelta, system: System, **changes: Any) -> dict[str, str]:
    found = check_up(
        box.license,
        home=box.home,
        system=system,
        hardware=changes.pop("hardware", box.scene.box.hardware),
        clock=StandInClock(NOW + since),
    ).findings
    return {each.code: each.level for each in found}


@pytest.fixture
def system(tmp_path: Path) -> System:
    """Returns a machine on a disk of its own: what this one is does not matter."""
    return SystemBuilder(tmp_path / "system").build({"/etc/machine-id": "4f3d1b6a140b35aa3de1645a70a5baf7"})


def test_a_license_that_holds_ends_soon_and_has_ended(clocked_box: ClockedBox, system: System) -> None:
    clocked_box.issue(expires=NOW + 90 * DAY)
    assert "problem" not in box_findings(clocked_box, DAY, system).values()
    assert box_findings(clocked_box, 61 * DAY, system)["license_ends"] == "warning"
    assert box_findings(clocked_box, 91 * DAY, system)["expired"] == "problem"


def test_a_renewed_license_over_an_expired_one(clocked_box: ClockedBox, system: System) -> None:
    assert box_findings(clocked_box, 31 * DAY, system)["expired"] == "problem"
    clocked_box.issue(NOW + 31 * DAY, expires=NOW + 400 * DAY)
    found = box_findings(clocked_box, 31 * DAY + HOUR, system)
    assert "expired" not in found
    assert "license_ends" not in found
    assert "problem" not in found.values()


def test_a_box_that_is_another_one_now(clocked_box: ClockedBox, system: System) -> None:
    """A system that was installed anew: both the license and the device key say so."""
    anew = clocked_box.scene.box.on_machine(OTHER_MACHINE).hardware
    found = box_findings(clocked_box, DAY, system, hardware=anew)
    assert (found["machine_mismatch"], found["device_key_mismatch"]) == ("problem", "problem")
    found_twice = check_up(clocked_box.license, home=clocked_box.home, system=system, hardware=anew).findings
    assert [each.subject for each in found_twice if each.code == "device_key_mismatch"] == ["device key"]


def test_the_worst_comes_first(clocked_box: ClockedBox, system: System) -> None:
    order = list(box_findings(clocked_box, 31 * DAY, system).values())
    assert order == sorted(order, key=["problem", "warning", "note", "ok"].index)
    assert {"problem", "note", "ok"} <= set(order)


def test_a_check_that_breaks_is_a_finding_and_hides_no_other(
    clocked_box: ClockedBox, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = set(box_findings(clocked_box, DAY, system))
    for name in [name for name in dir(checkup) if name.startswith("check_") and name != "check_up"]:
        with monkeypatch.context() as patched:

            def broken(*arguments: object) -> None:
                raise RuntimeError("broken")

            patched.setattr(checkup, name, broken)
            found = box_findings(clocked_box, DAY, system)
        assert found["not_checked"] == "warning", name
        assert len(usual - set(found)) <= 6, name


def test_it_writes_nothing(clocked_box: ClockedBox, system: System) -> None:
    with unchanged(clocked_box.home), unchanged(clocked_box.twin.parent):
        box_findings(clocked_box, 20 * DAY, system)


def test_a_license_that_is_none(story: Story) -> None:
    for license, reason in ((story.inputs, "license_malformed"), (story.folder / "none.lic", "file_not_found")):
        outcome = here("doctor", license, "--home", story.customer, "--json")
        assert outcome.refused(3, "lockout_predicted").endswith("licenses do not unlock here, or soon will not")
        assert levels(outcome)[reason] == "problem"


def test_on_this_machine_in_words(story: Story) -> None:
    """Whatever this machine is: no line is too long, and the facts say the same as the words."""
    outcome = here("doctor", story.license, "--home", story.customer)
    facts = here("doctor", story.license, "--home", story.customer, "--json").facts
    words = " ".join(outcome.stdout.split())
    long_words = [line for line in outcome.stdout.splitlines() if len(line) > 80 and len(line.split()) > 2]
    assert long_words == []
    assert "\x1b" not in outcome.stdout
    for each in facts["findings"]:
        if each["code"] not in ("clock", "clock_unsynchronised", "license"):  # They say what time it is.
            assert " ".join(f"{each['subject']}: {each['found']}".split()) in words
            assert all(not text or " ".join(text.split()) in words for text in (each["why"], each["mend"]))
    assert (
        facts["license_id"]
        == json.loads(here("status", story.license, "--home", story.customer, "--json").stdout)["license_id"]
    )
    assert (outcome.code, facts["ok"]) in ((0, True), (3, False))


def test_help_says_how_it_ends() -> None:
    shown = " ".join(here("doctor", "--help").done().stdout.replace("│", " ").split())
    assert "The exit code is 0 without a problem, whatever else was found, and 3 with one" in shown


# Real conditions, in namespaces of their own.


@pytest.mark.slow
@pytest.mark.parametrize(("text", "words"), [("uninitialized\n", "says 'uninitialized'"), ("", "is empty")])
def test_a_machine_id_that_is_none(text: str, words: str, story: Story, tmp_path: Path) -> None:
    (tmp_path / "machine-id").write_text(text)
    arguments = ("doctor", story.license, "--home", story.customer, "--json")
    outcome = as_process(*arguments, prefix=on_machine(tmp_path / "machine-id"))
    outcome.refused(3, "lockout_predicted")
    assert words in finding(outcome, "machine_id_unavailable")["found"]


@pytest.mark.slow
def test_a_machine_id_in_memory(story: Story, tmp_path: Path, small_disk: SmallDisk) -> None:
    machine_id = small_disk.path / "machine-id"
    machine_id.write_text(f"{ONE}\n")
    inside = small_disk.path_inside / "machine-id"
    mounting = f"for path in /etc/machine-id /var/lib/dbus/machine-id; do mount --bind {inside} $path; done"
    subprocess.run([*small_disk.enter, "sh", "-c", mounting], check=True)
    home = small_disk.path_inside / "home"
    outcome = as_process("doctor", "--home", home, "--json", prefix=small_disk.enter)
    found = levels(outcome)
    assert found["home_volatile"] == "problem"
    assert {"machine_id_transient", "machine_id_of_image"} & set(found)


@pytest.mark.slow
def test_a_container_without_a_machine_id(tmp_path: Path) -> None:
    outcome = as_process("doctor", "--home", tmp_path / "home", "--json", prefix=in_container(tmp_path / "layers"))
    outcome.refused(3, "lockout_predicted")
    assert finding(outcome, "machine_id_unavailable")["found"] == "there is no /etc/machine-id"
    assert "mount the host's machine ID" in finding(outcome, "machine_id_unavailable")["mend"]
    assert levels(outcome)["home_in_container"] == "problem"


@pytest.mark.slow
def test_a_container_with_its_home_on_a_volume_and_the_hosts_machine_id(tmp_path: Path) -> None:
    home, machine_id = tmp_path / "home", tmp_path / "machine-id"
    home.mkdir()
    machine_id.write_text(f"{ONE}\n")
    volumes = {"home": f"{home}:/data", "id": f"{machine_id}:/etc/machine-id"}
    alone = in_container(tmp_path / "layers", **volumes)
    outcome = as_process("doctor", "--home", "/data", "--json", prefix=alone)
    assert outcome.code == 0, outcome
    found = levels(outcome)
    assert not {"machine_id_of_image", "home_in_container"} & set(found)
    # An image with D-Bus has an ID of its own, which comes first.
    shadowed = in_container(tmp_path / "layers", OTHER, id=volumes["id"])
    found = levels(as_process("doctor", "--home", "/data", "--json", prefix=shadowed))
    assert (found["machine_id_of_image"], found["machine_ids_differ"]) == ("problem", "warning")


@pytest.mark.slow
def test_half_a_driver_is_told_from_none(story: Story, tmp_path: Path, fake_nvml: FakeNvml) -> None:
    uuid = "GPU-00000001-0000-4000-8000-000000000000"
    prefix, variables = fake_nvml.installed(Box(gpus=(FakeGpu(uuid),)))
    outcome = as_process("doctor", "--home", story.customer, "--json", prefix=prefix, variables=variables)
    assert uuid[:12] in finding(outcome, "gpus")["found"]
    hidden = {**variables, "CUDA_VISIBLE_DEVICES": "-1"}
    outcome = as_process("doctor", "--home", story.customer, "--json", prefix=prefix, variables=hidden)
    assert levels(outcome)["gpu_hidden"] == "warning"


# request --prove


@pytest.mark.slow
def test_a_container_whose_machine_id_changes_is_found_out_before_there_is_a_license(tmp_path: Path) -> None:
    """Two containers of an image that draws its ID when it is made, and then the mend: the host's ID."""
    home, host = tmp_path / "home", tmp_path / "machine-id"
    home.mkdir()
    host.write_text(f"{'3' * 32}\n")
    volume = f"{home}:/data"
    request = ("request", "--prove", "-o", "/data/box.req", "--force", "--home", "/data", "--json")

    def start(name: str, machine_id: str, *more: str, **volumes: str) -> Outcome:
        return as_process(*request, *more, prefix=in_container(tmp_path / name, machine_id, home=volume, **volumes))

    first = start("first", ONE).done().facts["history"]
    assert (first["starts"], first["containers"], first["stable"]) == (1, 1, True)
    second = start("second", OTHER)
    sentence = second.refused(3, "device_key_mismatch")
    assert sentence.startswith("the machine ID changed between two starts of this container: ")
    assert "a license would stop working" in sentence
    assert second.facts["hints"][0].startswith("mount the host's /etc/machine-id into the container, read-only")
    doctor = ("doctor", "--home", "/data", "--json")
    outcome = as_process(*doctor, prefix=in_container(tmp_path / "second", OTHER, home=volume))
    assert levels(outcome)["machine_changed"] == "problem"
    mounted = {"id": f"{host}:/etc/machine-id", "dbus": f"{host}:/var/lib/dbus/machine-id"}
    start("third", ONE, "--new-device-key", **mounted).done()
    fourth = start("fourth", OTHER, **mounted).done().facts["history"]
    assert {name: fourth[name] for name in ("starts", "boots", "containers", "stable")} == {
        "starts": 2,
        "boots": 1,
        "containers": 2,
        "stable": True,
    }
    # The vendor sees the same in the request.
    shown = here("inspect", home / "box.req").done().stdout
    assert "the same hardware at 2 starts since" in shown
    assert "(1 boot, 2 containers): a license would have held each time" in shown
    assert here("inspect", home / "box.req", "--json").facts["history"] == fourth


@pytest.mark.slow
def test_a_gpu_that_was_not_there_at_an_earlier_start(tmp_path: Path, fake_nvml: FakeNvml) -> None:
    home, uuids = tmp_path / "home", [f"GPU-{number:08x}-0000-4000-8000-000000000000" for number in (1, 2)]
    request = ("request", "--prove", "-o", tmp_path / "box.req", "--force", "--home", home)
    for uuid in uuids:
        prefix, variables = fake_nvml.installed(Box(gpus=(FakeGpu(uuid),)))
        outcome = as_process(*request, prefix=prefix, variables=variables).done()
    assert "not all of these GPUs were there each time" in outcome.stdout
    outcome = as_process("doctor", "--home", home, "--json", prefix=prefix, variables=variables)
    assert uuids[0] in finding(outcome, "gpus_changed")["found"]


def test_the_first_start_promises_nothing(tmp_path: Path) -> None:
    arguments = ("request", "-o", tmp_path / "box.req", "--gpu", "none", "--home", tmp_path / "home")
    assert "history" not in here(*arguments, "--json").done().facts
    assert not history_path(tmp_path / "home").exists()
    shown = here(*arguments, "--prove", "--force").done().stdout
    assert "nothing can be said yet\n" in shown
    assert "do the same again after a restart, and send the vendor the request of that time" in shown
    assert "nothing can be said yet" in here("inspect", tmp_path / "box.req").done().stdout
    again = here(*arguments, "--prove", "--force", "--json").done().facts["history"]
    assert (again["starts"], again["stable"]) == (1, True), "the same start, however often"


def test_a_history_that_was_edited_makes_no_request(tmp_path: Path) -> None:
    arguments = ("request", "-o", tmp_path / "box.req", "--gpu", "none", "--home", tmp_path / "home", "--prove")
    here(*arguments).done()
    path = history_path(tmp_path / "home")
    path.write_bytes(path.read_bytes().replace(b'"at":1', b'"at":2'))
    os.remove(tmp_path / "box.req")
    here(*arguments, "--json").refused(3, "start_history_invalid")
    assert not (tmp_path / "box.req").exists()
    found = levels(here("doctor", "--home", tmp_path / "home", "--json"))
    assert found["not_checked"] == "warning"
