"""`weightlock bench` as its users start it: what it prints and says as JSON. Never how fast anything is."""

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Outcome, as_process, here
from tests.story import Story
from tools.bench import room

LOADS = {"limit", "decrypt", "onnx.plain", "onnx.locked"}
OTHERS = {"copy", "encrypt", "start.plain", "start.locked", "unlock", "probe"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The facts of a run on ONNX models of 4 MiB, with one and with two threads."""
    folder = tmp_path_factory.mktemp("small")
    arguments = ("--size", "4MiB", "--types", "onnx", "--repeat", "2", "--threads", "2", "--all-threads", "--cold")
    facts = as_process("bench", *arguments, "--json", variables={"TMPDIR": str(folder)}).done().facts
    assert list(folder.iterdir()) == []
    return facts


def measured(facts: dict[str, Any], number: int = 0) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Returns the measurements of one size by name, threads and page cache."""
    found = facts["runs"][number]["measurements"]
    by_name = {(each["name"], each["threads"], each["page_cache"]): each for each in found}
    assert len(by_name) == len(found)
    return by_name


@pytest.mark.slow
def test_every_candidate_is_measured_in_every_round(small: dict[str, Any]) -> None:
    (run,) = small["runs"]
    assert (run["bytes"], run["threads"], run["left_out"]) == (4 * 1024**2, 2, [])
    found = measured(small)
    # A machine without a stable machine ID has no hardware to measure.
    assert {name for name, threads, cache in found if (threads, cache) == (2, "warm")} | {"probe"} == LOADS | OTHERS
    assert {name for name, threads, _ in found if threads == 1} == LOADS - {"onnx.plain"}
    assert {name for name, _, cache in found if cache == "dropped"} == {"onnx.plain", "onnx.locked"}
    for each in found.values():
        assert len(each["seconds"]) == 2
        assert min(each["seconds"]) <= each["median_seconds"] <= max(each["seconds"])
        assert min(each["seconds"]) > 0


@pytest.mark.slow
def test_memory_is_measured_once_of_each_load(small: dict[str, Any]) -> None:
    watched = {key for key, each in measured(small).items() if "peak_bytes" in each}
    assert watched == {("onnx.plain", 2, "warm"), ("onnx.locked", 2, "warm")}
    assert all(0.5 < measured(small)[key]["peak_of_model"] < 20 for key in watched)


@pytest.mark.slow
def test_page_cache_was_as_the_row_says(small: dict[str, Any]) -> None:
    for (name, _, cache), each in measured(small).items():
        shares = each.get("page_cache_shares", [])
        assert len(shares) == (2 if name in {*LOADS, "copy", "encrypt"} - {"limit"} else 0)
        if cache == "warm":
            assert all(share > 0.99 for share in shares), each


@pytest.mark.slow
def test_machine_and_ratios_are_said(small: dict[str, Any]) -> None:
    machine = small["machine"]
    assert machine["processors_usable"] >= 1
    assert machine["memory_bytes"] > 10**9
    assert machine["storage"]["file_system"]
    assert {"weightlock", "python", "cryptography", "onnxruntime"} <= machine["versions"].keys()
    pairs = {(each["time_of"], each["in_times_of"]) for each in small["runs"][0]["ratios"]}
    assert {("decrypt", "limit"), ("onnx.locked", "onnx.plain"), ("encrypt", "copy")} <= pairs


@pytest.mark.slow
def test_a_model_of_the_users_is_measured_and_kept(story: Story, tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    shutil.copyfile(story.plain, model)
    outcome = as_process("bench", "net.onnx", "--repeat", "1", folder=tmp_path, variables={"TMPDIR": str(tmp_path)})
    lines = outcome.done().stdout.splitlines()
    assert any(line.startswith("onnx, locked ") for line in lines)
    assert not any(line.startswith("start") for line in lines)
    assert [line for line in lines if len(line) > 80 or line != line.rstrip()] == []
    assert list(tmp_path.iterdir()) == [model]
    assert model.read_bytes() == story.plain.read_bytes()


WRONG = [
    (("--size", "5"), "usage", "'5' is not a size"),
    (("--size", "1GiB,"), "usage", "'' is not a size"),
    (("--size", "1XB"), "usage", "'1XB' is not a size"),
    (("--size", "1KiB"), "usage", "a model of 1KiB cannot be measured"),
    (("--size", "99999GiB"), "usage", "a model of 99999GiB cannot be measured"),
    (("--types", "nonsense"), "model_type_unknown", "of type 'nonsense' cannot be measured"),
    (("--types", "torch,"), "model_type_unknown", "of type '' cannot be measured"),
    (("--types", "gguf"), "model_type_unknown", "cannot be measured without a model"),
    (("--repeat", "0"), "usage", "--repeat"),
    (("--threads", "0"), "usage", "--threads"),
]


@pytest.mark.parametrize(("arguments", "reason", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_what_cannot_be_meant_is_refused(
    arguments: tuple[str, ...], reason: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert words in here("bench", *arguments, "--json").refused(2, reason)
    assert list(tmp_path.iterdir()) == []


def refused(outcome: Outcome, code: int, reason: str, folder: Path) -> str:
    assert list(folder.iterdir()) == []
    return outcome.refused(code, reason)


def test_framework_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else found(name))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    outcome = here("bench", "--types", "onnx,openvino", "--json")
    sentence = refused(outcome, 5, "framework_missing", tmp_path)
    assert sentence == "measuring the type 'openvino' needs openvino, which is not installed"
    assert outcome.facts["hints"] == ["install it with: pip install 'weightlock[openvino]'"]


def test_model_whose_type_cannot_be_told_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"something else entirely")
    assert "cannot be told" in here("bench", tmp_path / "model", "--json").refused(4, "model_type_mismatch")
    for named in ((), ("--types", "onnx")):
        missing = here("bench", tmp_path / "missing", *named, "--json")
        assert "there is no model" in missing.refused(1, "file_not_found")


def test_locked_model_is_refused(story: Story) -> None:
    assert here("bench", story.locked, "--json").refused(2, "usage").endswith("is locked already")


def test_too_little_space_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(room, "available_memory", lambda: 10**15)
    sentence = refused(here("bench", "--size", "1024GiB", "--types", "onnx", "--json"), 1, "storage_full", tmp_path)
    assert sentence.startswith("measuring needs 4.4 TB for temporary files in ")


def test_too_little_memory_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(room, "available_memory", lambda: 10**9)
    sentence = refused(here("bench", "--types", "onnx", "--json"), 1, "out_of_memory", tmp_path)
    assert sentence.endswith("of memory, and 1.0 GB are available")
