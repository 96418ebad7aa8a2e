"""The main path by the command line: what each command does, what it prints, and what it says as JSON."""

import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy
import pytest

from licensing.vendor_home import VendorHome
from licensing.version import __version__
from tests.command_line import as_process, here
from tests.story import WIDTH, Story


@pytest.fixture
def own(story: Story, tmp_path: Path) -> Story:
    """Returns a copy of the story that a test may add to."""
    return story.copied(tmp_path / "own")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def issued(own: Story, output: Path, *options: str) -> dict[str, Any]:
    return here(*own.issue(output, *options), "--json").done().facts


@pytest.mark.slow
def test_whole_day_as_processes(tmp_path: Path, story: Story) -> None:
    """Every command as its users start it, with the homes from the environment."""
    homes = {"WEIGHTLOCK_VENDOR_HOME": str(tmp_path / "vendor"), "WEIGHTLOCK_HOME": str(tmp_path / "customer")}

    def weightlock(*arguments: str | Path) -> str:
        return as_process(*arguments, variables=homes, folder=tmp_path).done().stdout

    assert "trust.jwks" in weightlock("vendor", "init", "--name", "Löwe AI")
    assert "locked 'net.onnx' (onnx, 16.5 kB): net.locked" in weightlock("encrypt", story.plain, "-o", "net.locked")
    assert "no GPU: the request names the machine alone" in weightlock("request", "-o", "box.req", "--gpu", "none")
    terms = ("--customer", "Acme", "--days", "90", "--allow-no-gpu")
    assert "issued to 'Acme' until " in weightlock("issue", "box.req", "-m", "net.locked", *terms, "-o", "acme.lic")
    shutil.copy(tmp_path / "vendor" / "trust.jwks", tmp_path / "customer")
    status = weightlock("status", "acme.lic")
    assert [line.split()[0] for line in status.splitlines()[:-1]] == ["holds"] * 8
    assert status.splitlines()[-1] == "models: net.onnx"
    files = ("--license", "acme.lic", "--input", story.inputs, "--output", "y.npz")
    assert weightlock("run", "net.locked", *files) == "y: float32 2x64\nwrote y.npz\n"
    weightlock("decrypt", "net.locked", "-o", "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == story.plain.read_bytes()


def test_locked_model_gives_the_outputs_of_the_plaintext(story: Story, tmp_path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(story.plain, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": numpy.ones((2, WIDTH), numpy.float32)})
    for locked in (story.locked, story.locked_folder):
        output = tmp_path / f"{locked.name}.npz"
        facts = here(*story.run(output, locked=locked), "--json").done().facts
        assert facts["outputs"] == {"y": {"shape": [2, WIDTH], "dtype": "float32"}}
        with numpy.load(output) as archive:
            assert numpy.array_equal(archive["y"], expected)


def test_decrypting_gives_every_byte_back(story: Story, tmp_path: Path) -> None:
    here("decrypt", story.locked, "-o", tmp_path / "net.onnx", "--home", story.vendor).done()
    assert (tmp_path / "net.onnx").read_bytes() == story.plain.read_bytes()
    here("decrypt", story.locked_folder, "-o", tmp_path / "folder", "--home", story.vendor).done()
    found = {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()}
    assert found == {path.name: path.read_bytes() for path in story.plain_folder.iterdir()}


def test_plaintext_that_is_written_again_is_its_owners_alone(story: Story, tmp_path: Path) -> None:
    here("decrypt", story.locked, "-o", tmp_path / "net.onnx", "--home", story.vendor).done()
    assert (tmp_path / "net.onnx").stat().st_mode & 0o077 == 0


def test_days_count_from_now(own: Story, tmp_path: Path) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    facts = issued(own, tmp_path / "x.lic", "--days", "3")
    assert before <= moment(facts["expires"]) - timedelta(days=3) <= datetime.now(timezone.utc)
    # A box whose clock is a little slow is not locked out on the first day.
    assert moment(facts["not_before"]) <= before


@pytest.mark.parametrize(
    ("until", "expires"),
    [
        ("2999-12-30", "2999-12-31T00:00:00+00:00"),  # The last second of the day in UTC still counts.
        ("2999-12-31T18:00:00+01:00", "2999-12-31T17:00:00+00:00"),
        ("2999-12-31T18:00:00Z", "2999-12-31T18:00:00+00:00"),
    ],
)
def test_until_a_date_or_a_moment(until: str, expires: str, own: Story, tmp_path: Path) -> None:
    assert moment(issued(own, tmp_path / "x.lic", "--until", until)["expires"]) == moment(expires)
    assert moment(here("inspect", tmp_path / "x.lic", "--json").facts["expires"]) == moment(expires)


def test_license_that_begins_later_does_not_hold_yet(own: Story, tmp_path: Path) -> None:
    facts = issued(own, tmp_path / "x.lic", "--until", "2999-12-31", "--not-before", "2999-01-01")
    assert moment(facts["not_before"]) == datetime(2999, 1, 1, tzinfo=timezone.utc)
    here("status", tmp_path / "x.lic", "--home", own.customer, "--json").refused(3, "not_yet_valid")
    here(*own.run(tmp_path / "y.npz", "--json", license=tmp_path / "x.lic")).refused(3, "not_yet_valid")


def test_license_that_has_ended_is_refused(own: Story, tmp_path: Path) -> None:
    vendor, then = VendorHome.open(own.vendor), datetime.now(timezone.utc) - timedelta(days=30)
    models = [record.model_id for record in vendor.models()]
    terms: dict[str, Any] = {
        "customer": "Acme",
        "expires": then + timedelta(days=29),
        "now": then,
        "allow_no_gpu": True,
    }
    ended = tmp_path / "ended.lic"
    ended.write_bytes(vendor.issue(own.request.read_bytes(), models, **terms).data)
    sentence = here("status", ended, "--home", own.customer, "--json").refused(3, "expired")
    assert sentence.startswith("the license ended at ")
    here(*own.run(tmp_path / "y.npz", "--json", license=ended)).refused(3, "expired")
    assert not (tmp_path / "y.npz").exists()
    assert "ended" in here("licenses", "--home", own.vendor).stdout


def test_status_says_every_check(own: Story, tmp_path: Path) -> None:
    facts = here("status", own.license, "--home", own.customer, "--json").done().facts
    names = [check["name"] for check in facts["checks"]]
    assert names == ["signature", "claims", "validity", "machine id", "hardware", "device key", "content keys", "clock"]
    assert all(check["ok"] for check in facts["checks"])
    assert (facts["ok"], facts["tier"], facts["customer"], facts["vendor"]) == (True, "software", "Acme", "Löwe AI")
    assert [model["name"] for model in facts["models"]] == ["net.onnx", "folder"]


def test_status_warns_before_the_end(own: Story, tmp_path: Path) -> None:
    issued(own, tmp_path / "x.lic", "--days", "3")
    outcome = here("status", tmp_path / "x.lic", "--home", own.customer).done()
    assert [line for line in outcome.stdout.splitlines() if line.startswith("soon   validity: until ")]


def test_status_of_a_refused_license_says_what_holds_and_what_fails(own: Story, tmp_path: Path) -> None:
    (own.customer / "device-key.pem").unlink()
    outcome = here("status", own.license, "--home", own.customer)
    sentence, hints = outcome.sentence_and_hints()
    assert outcome.code == 3
    assert f"fails  device key: {sentence}" in outcome.stdout.splitlines()
    assert any(line.startswith("holds  signature: ") for line in outcome.stdout.splitlines())
    assert any("new request" in hint for hint in hints)
    checks = here("status", own.license, "--home", own.customer, "--json").facts["checks"]
    assert [check["name"] for check in checks if not check["ok"]] == ["device key"]


def test_times_are_shown_in_the_readers_time_zone(own: Story, tmp_path: Path) -> None:
    issued(own, tmp_path / "x.lic", "--until", "2999-12-31T15:30:00Z")
    tokyo = {"TZ": "Asia/Tokyo"}
    shown = as_process("inspect", tmp_path / "x.lic", variables=tokyo).done().stdout
    assert "until       3000-01-01 00:30 JST (UTC+09:00)" in shown
    facts = as_process("status", tmp_path / "x.lic", "--home", own.customer, "--json", variables=tokyo).done().facts
    assert moment(facts["expires"]) == moment("2999-12-31T15:30:00+00:00")
    assert facts["expires_local"] == "3000-01-01 00:30 JST (UTC+09:00)"


def test_vendor_records(own: Story, tmp_path: Path) -> None:
    models = here("models", "--home", own.vendor, "--json").done().facts["models"]
    assert {(model["name"], model["type"]) for model in models} == {("net.onnx", "onnx"), ("folder", "onnx")}
    (record,) = here("licenses", "--home", own.vendor, "--json").done().facts["licenses"]
    assert (record["customer"], record["models"], record["status"]) == ("Acme", ["net.onnx", "folder"], "issued")
    here("licenses", "--export", record["license_id"], "-o", tmp_path / "again.lic", "--home", own.vendor).done()
    assert (tmp_path / "again.lic").read_bytes() == own.license.read_bytes()
    assert "Acme" in here("licenses", "--home", own.vendor).done().stdout
    assert models[0]["model_id"] in here("models", "--home", own.vendor).done().stdout


def test_model_can_be_licensed_by_its_id(own: Story, tmp_path: Path) -> None:
    model_id = here("inspect", own.locked, "--json").facts["model_id"]
    arguments = ("issue", own.request, "-m", model_id, "--customer", "Acme", "--days", "3", "--allow-no-gpu")
    here(*arguments, "--feature", "large", "--home", own.vendor, "-o", tmp_path / "x.lic").done()
    facts = here("inspect", tmp_path / "x.lic", "--json").done().facts
    assert ([model["model_id"] for model in facts["models"]], facts["features"]) == ([model_id], ["large"])
    here(*own.run(tmp_path / "y.npz", license=tmp_path / "x.lic")).done()
    other = own.run(tmp_path / "z.npz", "--json", license=tmp_path / "x.lic", locked=own.locked_folder)
    here(*other).refused(3, "model_not_licensed")


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("locked", "locked model", ["net.onnx", "onnx"]),
        ("license", "license", ["Löwe AI", "Acme", "folder"]),
        ("request", "license request", ["none: the machine alone"]),
        ("trust", "trust file", ["EdDSA"]),
    ],
)
def test_inspect_says_what_a_file_is(name: str, kind: str, words: list[str], story: Story) -> None:
    file = getattr(story, name)
    assert here("inspect", file, "--json").done().facts["kind"] == kind
    shown = here("inspect", file).done().stdout
    assert shown.startswith(f"{kind}: {file}\n")
    assert [word for word in words if word not in shown] == []


def test_second_request_uses_the_same_device_key_unless_told_otherwise(tmp_path: Path) -> None:
    arguments = ("request", "--gpu", "none", "--home", tmp_path / "home", "--json", "-o")
    first = here(*arguments, tmp_path / "first.req").done().facts
    second = here(*arguments, tmp_path / "second.req").done().facts
    third = here(*arguments, tmp_path / "third.req", "--new-device-key").done().facts
    assert (first["device_key_made"], second["device_key_made"], third["device_key_made"]) == (True, False, True)
    assert first["device"] == second["device"] != third["device"]
    # The old key is set aside and never deleted: licenses may still be bound to it.
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == [
        *("device-key.pem", "device-key.pem.old-1"),
        *("time-state.json", "time-state.json.old-1"),
    ]


def test_version() -> None:
    assert here("--version").done().stdout == f"weightlock {__version__}\n"
