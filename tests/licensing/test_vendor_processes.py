"""The vendor's home under several processes at once, and under processes that are killed at any moment.

What is killed is forked from a process that was started afresh, so that it holds nothing of the test runner's.
"""

import functools
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from licensing.errors import VendorHomeError
from licensing.license import LicenseFile, read_claims
from licensing.vendor_home import VendorHome
from tests.licensing.vendors import Box, add_model, issue, make_box

# Whole processes, one after another: left out of the checks before each commit.
pytestmark = pytest.mark.slow

SPAWN = multiprocessing.get_context("spawn")
TIMEOUT_SECONDS = 60
FILES = {"master.json", "registry.db", "signing-key.sealed", "trust.jwks", "vendor.json"}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return make_box(tmp_path_factory.mktemp("customer"), "a" * 32)


@pytest.fixture(scope="module")
def other_box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return make_box(tmp_path_factory.mktemp("other-customer"), "b" * 32)


def run_at_once(target: Callable[..., None], *arguments: tuple[Any, ...]) -> list[Any]:
    """Runs `target(barrier, report, *arguments)` in one new process for each tuple; returns what they reported."""
    barrier, reports = SPAWN.Barrier(len(arguments)), SPAWN.Queue()
    processes = [SPAWN.Process(target=target, args=(barrier, reports.put, *each)) for each in arguments]
    for process in processes:
        process.start()
    results = [reports.get(timeout=TIMEOUT_SECONDS) for _ in processes]
    for process in processes:
        process.join(TIMEOUT_SECONDS)
        assert process.exitcode == 0
    return results


def issue_and_add(barrier: Any, report: Callable[[object], None], directory: Path, request: bytes, model: str) -> None:
    home = VendorHome.open(directory)
    licenses, models = [], {}
    barrier.wait(TIMEOUT_SECONDS)
    for number in range(15):
        issued = issue(home, request, model)
        licenses.append((issued.license_id, issued.data))
        if number % 3 == 0:
            model_id, content_key = add_model(home)
            models[model_id] = content_key
    report((licenses, models))


def test_two_processes_at_once_lose_nothing(box: Box, other_box: Box, tmp_path: Path) -> None:
    home = VendorHome.create(tmp_path / "vendor", "Löwe AI")
    model_id, _ = add_model(home)
    requests = (box.request, other_box.request)
    results = run_at_once(issue_and_add, *((tmp_path / "vendor", request, model_id) for request in requests))
    licenses = {license_id: data for issued, _ in results for license_id, data in issued}
    models = {added: content_key for _, added_models in results for added, content_key in added_models.items()}
    assert (len(licenses), len(models)) == (30, 10)
    assert {record.license_id: home.license_file(record.license_id) for record in home.licenses()} == licenses
    assert {record.customer for record in home.licenses()} == {"Acme"}
    assert len({record.device_thumbprint for record in home.licenses()}) == 2
    assert {added: home.content_key(added) for added in models} == models
    assert {model.model_id for model in home.models()} == {model_id, *models}


def create_beside_another(barrier: Any, report: Callable[[object], None], directory: Path, rounds: int) -> None:
    outcomes = []
    for number in range(rounds):
        barrier.wait(TIMEOUT_SECONDS)
        try:
            VendorHome.create(directory / str(number), "Löwe AI")
            outcomes.append("made")
        except VendorHomeError as refusal:
            outcomes.append(refusal.reason)
    report(outcomes)


def test_of_two_processes_one_makes_the_home(tmp_path: Path) -> None:
    for number, pair in enumerate(zip(*run_at_once(create_beside_another, *[(tmp_path, 10)] * 2), strict=True)):
        assert sorted(pair)[0] == "made"
        assert sorted(pair)[1] in ("vendor_home_busy", "vendor_home_exists")
        home = VendorHome.open(tmp_path / str(number))
        model_id, content_key = add_model(home)
        assert home.content_key(model_id) == content_key
        assert {entry.name for entry in (tmp_path / str(number)).iterdir()} == FILES


def fork(work: Callable[[], object]) -> int:
    """Runs `work` in a fork of this process, and returns its process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def was_killed(child: int) -> bool:
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def issue_and_add_forever(directory: Path, request: bytes, model: str, writer: int) -> None:
    home = VendorHome.open(directory)
    while True:
        license_id = issue(home, request, model).license_id
        model_id, _ = add_model(home)
        os.write(writer, f"{license_id} {model_id}\n".encode())


def wait_for_commit(directory: Path) -> None:
    """Returns while a commit is under way, which is when the journal is there; one comes every few milliseconds."""
    deadline = time.monotonic() + 1
    while not (directory / "registry.db-journal").exists() and time.monotonic() < deadline:
        pass


def issue_until_killed(
    barrier: Any, report: Callable[[object], None], directory: Path, request: bytes, model: str, rounds: int
) -> None:
    issue(VendorHome.open(directory), request, model)  # The forks inherit what the libraries prepare on first use.
    done: list[str] = []
    unfinished_commits = 0
    for number in range(rounds):
        reader, writer = os.pipe()
        child = fork(functools.partial(issue_and_add_forever, directory, request, model, writer))
        os.close(writer)
        with os.fdopen(reader) as lines:
            done.append(next(lines))
            time.sleep(random.uniform(0.0, 0.05))
            if number % 2:
                wait_for_commit(directory)
            os.kill(child, signal.SIGKILL)
            assert was_killed(child)
            done.extend(lines)
        unfinished_commits += (directory / "registry.db-journal").exists()
    report((done, unfinished_commits))


def test_a_process_killed_while_it_issues_leaves_a_consistent_registry(box: Box, tmp_path: Path) -> None:
    home = VendorHome.create(tmp_path / "vendor", "Löwe AI")
    model_id, _ = add_model(home)
    ((lines, unfinished_commits),) = run_at_once(issue_until_killed, (tmp_path / "vendor", box.request, model_id, 25))
    reported = [line.split() for line in lines]
    assert len(reported) >= 25
    assert unfinished_commits >= 5
    recorded = {record.license_id: record for record in home.licenses()}
    assert {license_id for license_id, _ in reported} <= recorded.keys()
    for license_id, record in recorded.items():
        claims = read_claims(LicenseFile.parse(home.license_file(license_id)))
        assert (claims.license_id, claims.customer, record.models) == (license_id, "Acme", ("resnet18",))
    assert {added for _, added in reported} <= {model.model_id for model in home.models()}
    assert all(len(home.content_key(model.model_id)) == 32 for model in home.models())
    issue(home, box.request, model_id)
    connection = sqlite3.connect(tmp_path / "vendor" / "registry.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    assert {entry.name for entry in (tmp_path / "vendor").iterdir()} == FILES


def create_and_die(barrier: Any, report: Callable[[object], None], directory: Path) -> None:
    """Makes homes, each in a process that is killed one flush to the disk later than the one before."""
    flush = os.fsync
    flushes_left = 0

    def die_at_the_last_flush(descriptor: int) -> None:
        nonlocal flushes_left
        if flushes_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        flushes_left -= 1
        flush(descriptor)

    killed = 0
    with mock.patch.object(os, "fsync", die_at_the_last_flush):
        while was_killed(fork(functools.partial(VendorHome.create, directory / str(killed), "Löwe AI"))):
            killed += 1
            flushes_left = killed
    report(killed)


def test_a_home_whose_making_was_killed_is_known_as_such_and_can_be_made_again(tmp_path: Path) -> None:
    (killed,) = run_at_once(create_and_die, (tmp_path,))
    assert killed == 2 * len(FILES)  # Each file is flushed, and so is the directory with its name.
    reasons = []
    for number in range(killed):
        directory = tmp_path / str(number)
        try:
            VendorHome.open(directory)
        except VendorHomeError as refusal:
            reasons.append(refusal.reason)
            VendorHome.create(directory, "Löwe AI")
            assert {entry.name for entry in directory.iterdir()} == FILES
        model_id, content_key = add_model(VendorHome.open(directory))
        assert VendorHome.open(directory).content_key(model_id) == content_key
    assert reasons == ["vendor_home_incomplete"] * (killed - 1)
