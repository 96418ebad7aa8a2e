"""The start history: what is kept, what a request says of it, and what a reader refuses. Section 11.1."""

import base64
import hashlib
import hmac
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from licensing.checkup_history import check_history, machine_change
from licensing.encoding import b64url_encode
from licensing.errors import LicensingError, MachineIdUnavailableError, RequestMalformedError, StartHistoryInvalidError
from licensing.findings import Finding
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware
from licensing.history_summary import HistorySummary
from licensing.machine import Machine
from licensing.request import REQUEST_TYPE, make_request, read_request
from licensing.start_history import (
    MAX_HISTORY_BYTES,
    MAX_STARTS,
    SeenStart,
    StartHistory,
    history_path,
    read_history,
    record_start,
    unverified_history,
)
from licensing.strict_json import canonical
from licensing.surroundings import Start, System
from tests.fake_system import SystemBuilder
from tests.lock_scene import GPU, MACHINE, NOW, OTHER_GPU, OTHER_MACHINE, Scene

DEVICE = "_Xh8M9nV7bq3m2P5r0sT1uW4yZ6aB8cD9eF0gH1iJ2k"
KEY = bytes(range(32))
SECONDS = int(NOW.timestamp())


def start(number: int, container: int | None = None) -> Start:
    boot = f"{number // 10:08x}-1111-4222-8333-444444444444"
    return Start(boot, f"{number:064x}", None if container is None else f"{container:064x}")


def seen(
    number: int, machine: Machine = MACHINE, gpus: tuple[Gpu, ...] = (GPU,), container: int | None = None
) -> SeenStart:
    return SeenStart.of(start(number, container), Hardware(machine, GpuReading(gpus)), SECONDS + number)


FULL = StartHistory(DEVICE, tuple(seen(number, container=number) for number in range(MAX_STARTS)))
HISTORIES = {
    "one": StartHistory(DEVICE, (seen(1),)),
    "no GPU": StartHistory(DEVICE, (seen(1, gpus=()),)),
    "two containers": StartHistory(DEVICE, (seen(1, container=1), seen(2, container=2))),
    "full": FULL,
}


def authenticated(members: dict[str, Any], key: bytes = KEY) -> bytes:
    """Returns a file with these members, made without the code under test."""
    mac = hmac.new(key, canonical(members), hashlib.sha256).digest()
    return canonical({"history": members, "mac": b64url_encode(mac)})


# The file.


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_what_is_written_reads_back_byte_for_byte(history: StartHistory) -> None:
    data = history.to_bytes(KEY)
    assert StartHistory.parse(data, KEY) == history
    assert StartHistory.parse(data, KEY).to_bytes(KEY) == data == authenticated(json.loads(data)["history"])


def members_of(history: StartHistory = HISTORIES["two containers"]) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(history.to_bytes(KEY))["history"]
    return members


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "another version": lambda members: members.update(ver=2),
    "no version": lambda members: members.pop("ver"),
    "an unknown member": lambda members: members.update(more=1),
    "an unknown member of a start": lambda members: members["starts"][0].update(more=1),
    "no starts": lambda members: members.update(starts=[]),
    "too many starts": lambda members: members.update(starts=members["starts"][:1] * (MAX_STARTS + 1)),
    "a start that is no object": lambda members: members.update(starts=["x"]),
    "no device": lambda members: members.pop("device"),
    "a device that is no thumbprint": lambda members: members.update(device="x"),
    "a time before 1970": lambda members: members["starts"][0].update(at=-1),
    "a boot that is no UUID": lambda members: members["starts"][0].update(boot="x"),
    "a start that is no digest": lambda members: members["starts"][0].update(start="x" * 64),
    "a container that is no digest": lambda members: members["starts"][0].update(container=""),
    "a machine in upper case": lambda members: members["starts"][0].update(machine="A" * 64),
    "no source": lambda members: members["starts"][0].pop("source"),
    "GPUs twice": lambda members: members["starts"][0].update(gpus=[GPU.uuid, GPU.uuid]),
    "GPUs in another order": lambda members: members["starts"][0].update(gpus=["b", "a"]),
    "a GPU that is no text": lambda members: members["starts"][0].update(gpus=[1]),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_file_that_breaks_a_rule_is_refused_though_it_is_authentic(
    change: Callable[[dict[str, Any]], object],
) -> None:
    members = members_of()
    assert StartHistory.parse(authenticated(members), KEY)
    change(members)
    with pytest.raises(StartHistoryInvalidError) as refusal:
        StartHistory.parse(authenticated(members), KEY)
    assert refusal.value.hints


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"gpus":[]', b'"gpus":["x"]'),
        lambda data: data + b" ",
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: b"[]",
        lambda data: data.replace(b'"mac"', b'"mag"'),
        lambda data: authenticated(json.loads(data)["history"], bytes(32)),
        lambda data: b" " * MAX_HISTORY_BYTES + data,
    ],
)
def test_a_file_that_somebody_changed_is_refused(change: Callable[[bytes], bytes]) -> None:
    data = StartHistory(DEVICE, (seen(1, gpus=()),)).to_bytes(KEY)
    with pytest.raises(StartHistoryInvalidError):
        StartHistory.parse(change(data), KEY)


def test_the_oldest_starts_make_room() -> None:
    assert FULL.with_start(seen(99)).starts == (*FULL.starts[1:], seen(99))
    many = tuple(Gpu(f"GPU-{number:08x}-0000-4000-8000-000000000000", "H200", number) for number in range(256))
    wide = StartHistory(DEVICE, tuple(seen(number, gpus=many) for number in range(MAX_STARTS)))
    data = wide.to_bytes(KEY)
    assert len(data) <= MAX_HISTORY_BYTES
    kept = StartHistory.parse(data, KEY).starts
    assert 10 < len(kept) < MAX_STARTS
    assert kept == wide.starts[-len(kept) :]


# What is kept, in the home.


def record(scene: Scene, home: Path, number: int, hardware: Hardware | None = None) -> StartHistory:
    box = scene.box
    return record_start(home, box.device_key, start(number), hardware or box.hardware, SECONDS + number)


def test_a_start_is_kept_once(lock_scene: Scene, tmp_path: Path) -> None:
    first = record(lock_scene, tmp_path, 1)
    before = history_path(tmp_path).stat()
    assert record(lock_scene, tmp_path, 1) == first
    assert history_path(tmp_path).stat().st_ino == before.st_ino, "nothing was written"
    assert stat.S_IMODE(before.st_mode) == 0o600
    assert [each.start for each in record(lock_scene, tmp_path, 2).starts] == [start(1), start(2)]
    assert read_history(tmp_path, lock_scene.box.device_key) == unverified_history(tmp_path)
    data = history_path(tmp_path).read_bytes()
    key = lock_scene.box.device_key.authentication_key("start-history")
    assert data == authenticated(json.loads(data)["history"], key)


def test_a_change_within_one_start_is_kept_too(lock_scene: Scene, tmp_path: Path) -> None:
    record(lock_scene, tmp_path, 1)
    history = record(lock_scene, tmp_path, 1, Hardware(MACHINE, GpuReading((OTHER_GPU,))))
    summary = history.summary(MACHINE.fingerprint, [OTHER_GPU], SECONDS)
    assert (len(history.starts), summary.starts, summary.gpus_kept) == (2, 1, False)


def test_a_history_that_was_edited_is_refused_and_not_written_over(lock_scene: Scene, tmp_path: Path) -> None:
    record(lock_scene, tmp_path, 1)
    edited = history_path(tmp_path).read_bytes().replace(GPU.uuid.encode(), OTHER_GPU.uuid.encode())
    history_path(tmp_path).write_bytes(edited)
    with pytest.raises(StartHistoryInvalidError) as refusal:
        record(lock_scene, tmp_path, 2)
    assert any("start-history.json" in hint for hint in refusal.value.hints)
    assert history_path(tmp_path).read_bytes() == edited


def test_a_new_device_key_begins_a_new_history(lock_scene: Scene, tmp_path: Path) -> None:
    record(lock_scene, tmp_path, 1)
    stranger = lock_scene.stranger
    assert read_history(tmp_path, stranger.device_key) is None
    history = record_start(tmp_path, stranger.device_key, start(2), stranger.hardware, SECONDS)
    assert (history.device, len(history.starts)) == (stranger.device_key.thumbprint, 1)


def test_what_cannot_be_read_explains_nothing(tmp_path: Path) -> None:
    assert unverified_history(tmp_path) is None
    history_path(tmp_path).write_bytes(b"{}")
    assert unverified_history(tmp_path) is None
    history_path(tmp_path).unlink()
    history_path(tmp_path).mkdir()
    assert unverified_history(tmp_path) is None


# What a request says.


def summary_of(*starts: SeenStart, gpus: tuple[Gpu, ...] = (GPU,)) -> HistorySummary:
    return StartHistory(DEVICE, starts).summary(MACHINE.fingerprint, gpus, SECONDS + 1000)


def test_what_a_history_comes_to() -> None:
    starts = (seen(1, container=1), seen(2, container=1), seen(12, container=2))
    assert summary_of(*starts) == HistorySummary(3, 2, 2, SECONDS + 1, True, True)
    assert summary_of(seen(1)) == HistorySummary(1, 1, 0, SECONDS + 1, True, True)


def test_a_machine_that_was_another_one_or_a_gpu_that_was_not_there() -> None:
    changed = summary_of(seen(1, OTHER_MACHINE), seen(2))
    assert (changed.machine_kept, changed.gpus_kept, changed.is_stable) == (False, True, False)
    without = summary_of(seen(1, gpus=(OTHER_GPU,)), seen(2, gpus=(GPU, OTHER_GPU)))
    assert (without.machine_kept, without.gpus_kept, without.is_stable) == (True, False, False)
    added = summary_of(seen(1), seen(2, gpus=(GPU, OTHER_GPU)))
    assert added.is_stable, "a GPU more is no loss"
    assert summary_of(seen(1, gpus=()), seen(2, gpus=(OTHER_GPU,)), gpus=()).is_stable


def test_a_request_carries_the_summary(lock_scene: Scene) -> None:
    box = lock_scene.box
    history = StartHistory(box.device_key.thumbprint, (seen(-20), seen(-1)))
    request = read_request(make_request(box.device_key, box.hardware, [GPU], NOW, history))
    assert request.history == HistorySummary(2, 2, 0, SECONDS - 20, True, True)
    assert read_request(box.request()).history is None


def test_a_clock_that_went_back_since_the_first_start_makes_no_request_that_is_refused(lock_scene: Scene) -> None:
    box = lock_scene.box
    history = StartHistory(box.device_key.thumbprint, (seen(5000),))
    request = read_request(make_request(box.device_key, box.hardware, [GPU], NOW, history))
    assert request.history is not None
    assert request.history.since == SECONDS


GOOD = {"starts": 3, "boots": 2, "containers": 3, "since": SECONDS, "machine_kept": True, "gpus_kept": False}
BAD: dict[str, list[Any]] = {
    "starts": [None, 0, 1001, "3", 1],
    "boots": [None, 0, 4],
    "containers": [None, -1, 4],
    "since": [None, -1, SECONDS + 1],
    "machine_kept": [None, 1, "true"],
    "gpus_kept": [None, 0],
}


def requested(scene: Scene, history: object) -> HistorySummary | None:
    claims = {"iat": SECONDS, "history": history}
    request = make_request(scene.box.device_key, scene.box.hardware, [GPU], NOW)
    payload = json.loads(base64.urlsafe_b64decode(json.loads(request)["request"].split(".")[1] + "=="))
    signed = scene.box.device_key.sign({**payload, **claims}, REQUEST_TYPE)
    return read_request(json.dumps({"request": signed}).encode()).history


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_summary_that_breaks_a_rule_is_refused(name: str, value: object, lock_scene: Scene) -> None:
    assert requested(lock_scene, {**GOOD, "later": "ignored"}) == HistorySummary(**GOOD)  # type: ignore[arg-type]
    wrong = {**GOOD, name: value}
    with pytest.raises(RequestMalformedError):
        requested(lock_scene, {each: one for each, one in wrong.items() if one is not None})


@pytest.mark.parametrize("history", ["yes", [], True, {}])
def test_a_history_that_is_no_summary_is_refused(history: object, lock_scene: Scene) -> None:
    with pytest.raises(RequestMalformedError):
        requested(lock_scene, history)


# What the check-up makes of it.


@pytest.fixture
def system(tmp_path: Path) -> System:
    return SystemBuilder(tmp_path / "system").build()


def found(
    scene: Scene, home: Path, system: System, machine: Machine | MachineIdUnavailableError = MACHINE, *gpus: Gpu
) -> dict[str, Finding]:
    hardware = Hardware(MACHINE, GpuReading(gpus or (GPU,)))
    findings = list(check_history(system, home, scene.box.device_key, machine, hardware))
    return {finding.code: finding for finding in findings}


def test_hardware_that_has_stayed_the_same(lock_scene: Scene, tmp_path: Path, system: System) -> None:
    record(lock_scene, tmp_path, 1)
    assert "since the one start that is known" in found(lock_scene, tmp_path, system)["history"].found
    record(lock_scene, tmp_path, 2)
    finding = found(lock_scene, tmp_path, system)["history"]
    assert (finding.level, finding.found) == (
        "ok",
        "the hardware has stayed the same at 2 starts since 2026-07-01 12:00 UTC",
    )


def test_a_machine_id_that_changed(lock_scene: Scene, tmp_path: Path, system: System) -> None:
    record(lock_scene, tmp_path, 1)
    finding = found(lock_scene, tmp_path, system, OTHER_MACHINE)["machine_changed"]
    assert (finding.level, finding.found) == (
        "problem",
        "the machine ID changed between two starts of this system: it was another one at 2026-07-01 12:00 UTC",
    )
    moved = machine_change(tmp_path, replace(OTHER_MACHINE, source="/var/lib/dbus/machine-id"), system)
    assert moved is not None
    assert moved[0].endswith("it came from /etc/machine-id then, and comes from /var/lib/dbus/machine-id now")
    container = machine_change(tmp_path, OTHER_MACHINE, SystemBuilder(tmp_path / "container").container())
    assert container is not None
    assert container[0].startswith("the machine ID changed between two starts of this container")
    assert "mount the host's /etc/machine-id into the container, read-only" in container[1]


def test_a_machine_id_that_changed_and_took_the_device_key_with_it(
    lock_scene: Scene, tmp_path: Path, system: System
) -> None:
    """The key does not open any more, and cannot verify the history that explains it."""
    record(lock_scene, tmp_path, 1)
    closed = LicensingError("the device key does not open on this machine")
    findings = check_history(system, tmp_path, closed, OTHER_MACHINE, lock_scene.box.hardware)
    assert "machine_changed" in {finding.code for finding in findings}


def test_a_gpu_that_is_gone(lock_scene: Scene, tmp_path: Path, system: System) -> None:
    record(lock_scene, tmp_path, 1)
    finding = found(lock_scene, tmp_path, system, MACHINE, OTHER_GPU)["gpus_changed"]
    assert (finding.level, GPU.uuid in finding.found) == ("warning", True)
    assert "gpus_changed" not in found(lock_scene, tmp_path, system, MACHINE, OTHER_GPU, GPU)


def test_without_a_history_a_container_is_asked_to_make_one(lock_scene: Scene, tmp_path: Path, system: System) -> None:
    assert found(lock_scene, tmp_path, system) == {}
    container = SystemBuilder(tmp_path / "container").container()
    finding = found(lock_scene, tmp_path, container)["history_missing"]
    assert (finding.level, "weightlock request --prove" in finding.mend) == ("note", True)


def test_without_a_machine_id_nothing_is_compared(lock_scene: Scene, tmp_path: Path, system: System) -> None:
    record(lock_scene, tmp_path, 1)
    assert found(lock_scene, tmp_path, system, MachineIdUnavailableError("none")) == {}
