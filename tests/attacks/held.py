"""`weightlock run`, held where the model is loaded, with somebody of the same account who started it and looks at it.

The one who looks is the parent of the process: Linux can let a user look into descendants alone (Yama's ptrace_scope),
and then this is the most that the same user may.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from cryptors import lock_model
from tests.attacks.accounts import as_another_user, as_root, without_capabilities
from tests.attacks.scene import AttackScene
from tests.command_line import ROOT, environment
from tests.patterned_models import PATTERN, SIZE, WEIGHTS, holds_pattern
from tests.story import write_onnx

__all__ = ["Seen", "licensed_model", "seen", "seen_unhardened"]

HELD = """
import sys
from cryptors.onnx_cryptor import OnnxCryptor
from tools.main import run_command_line

def held(self, *arguments):
    print("ready", flush=True)
    sys.stdin.readline()

OnnxCryptor.infer = held
run_command_line(sys.argv[1:])
"""

LOOKER = Path(__file__).with_name("look.py")


@dataclass
class Seen:
    """What was found. Texts of `same_user` are "found", "not found" or "denied".

    Attributes:
        same_user: by what was tried: memory, entries, debugger, core.
        other_user: what another user was told.
        root: whether root found the weights, and in pages that can be swapped: weights, swappable, key.
        files: files with the weights, of all that the process could write to.
    """

    same_user: dict[str, str] = field(default_factory=dict)
    other_user: str = ""
    root: dict[str, bool] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LicensedModel:
    """An ONNX model whose weights are the pattern, and what runs it."""

    folder: Path
    content_key: bytes = field(repr=False)
    arguments: tuple[str, ...] = ()


def licensed_model(scene: AttackScene) -> LicensedModel:
    """Returns the model, made once for a scene."""
    folder = scene.folder / "held"
    names = ("net.onnx", "net.locked", "net.lic", "x.npz")
    plain, locked, license, inputs = (folder / name for name in names)
    if not folder.exists():
        folder.mkdir()
        write_onnx(plain, weights=WEIGHTS)
        scene.headers[locked] = lock_model(scene.vendor, plain, locked)
        plain.unlink()
        license.write_bytes(scene.issue(locked, gpus=()))
        numpy.savez(inputs, x=numpy.ones((1, SIZE), numpy.float32))
    files = ("--license", license, "--input", inputs, "--home", scene.box.home)
    return LicensedModel(folder, scene.content_key(locked), ("run", str(locked), *map(str, files)))


_seen: dict[tuple[Path, bool], Seen] = {}


def seen(scene: AttackScene) -> Seen:
    """Returns what is found in `weightlock run` as it is."""
    return _look(scene, hardened=True)


def seen_unhardened(scene: AttackScene) -> Seen:
    """Returns what is found in `weightlock run --no-harden`: the control, and what applications are by themselves."""
    return _look(scene, hardened=False)


def _look(scene: AttackScene, hardened: bool) -> Seen:
    """Looks once; several attacks ask for what was found."""
    if (scene.folder, hardened) not in _seen:
        _seen[scene.folder, hardened] = _looked(scene, hardened)
    return _seen[scene.folder, hardened]


def _looked(scene: AttackScene, hardened: bool) -> Seen:
    model, found = licensed_model(scene), Seen()
    with tempfile.TemporaryDirectory(prefix="held-") as scratch, _started(model, Path(scratch), hardened) as looker:
        first = _told(looker)
        pid = first.pop("pid")
        found.same_user = first
        found.other_user = _as_another_user(pid)
        found.root = _as_root(pid, model.content_key)
        found.files = _files_with_weights(Path(scratch), Path("/dev/shm"))
        found.same_user |= _told(looker)
        found.files += _files_with_weights(Path(scratch), Path("/dev/shm"))
    return found


@contextmanager
def _started(model: LicensedModel, scratch: Path, hardened: bool) -> "Iterator[subprocess.Popen[str]]":
    """Starts the one who looks, who starts the program in an empty folder, its only place to write."""
    (cores := scratch / "cores").mkdir()
    (place := scratch / "place").mkdir()
    options = ["--output", str(place / "y.npz"), *([] if hardened else ["--no-harden"])]
    program = [sys.executable, "-c", HELD, *model.arguments, *options]
    variables = {"PYTHONPATH": str(ROOT), "HOME": str(place), "TMPDIR": str(place)}
    command = [*without_capabilities(), sys.executable, str(LOOKER), str(cores), *program]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(variables), cwd=place
    )
    try:
        assert process.stdin is not None
        print(PATTERN.hex(), file=process.stdin, flush=True)
        yield process
    finally:
        process.communicate()


def _told(looker: "subprocess.Popen[str]") -> dict[str, Any]:
    assert looker.stdin is not None
    assert looker.stdout is not None
    print("go on", file=looker.stdin, flush=True)
    line = looker.stdout.readline()
    assert line, "the one who looks at the process failed"
    told: dict[str, Any] = json.loads(line)
    return told


def _as_another_user(pid: int) -> str:
    """Returns what another user is told who wants to read the memory and the environment."""
    answers = [as_another_user(["cat", f"/proc/{pid}/{name}"]) for name in ("mem", "environ")]
    return "denied" if all("denied" in answer.stderr for answer in answers) else "found"


def _as_root(pid: int, content_key: bytes) -> dict[str, bool]:
    needles = {"weights": (PATTERN * 2).hex(), "key": content_key.hex()}
    command = [*as_root(), sys.executable, str(LOOKER), "--as-root", str(pid), json.dumps(needles)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    told: dict[str, bool] = json.loads(answer.stdout)
    return told


def _files_with_weights(*folders: Path) -> list[str]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.parent.name != "cores"]
    return [path.name for path in files if holds_pattern(path.read_bytes())]
