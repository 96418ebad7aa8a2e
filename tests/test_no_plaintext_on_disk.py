"""No plaintext of a model reaches a file system while it is encrypted and run.

`weightlock` works under strace on a model whose weights are a known pattern. Whatever it writes, opens for writing or
maps is looked at, and in the end every file that it could have left. The same eyes see the pattern where a program does
write it. tests/contract/test_traced.py looks at the models of every type.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy
import pytest

from tests.command_line import PROGRAM, here
from tests.patterned_models import PATTERN, SIZE, WEIGHTS, holds_pattern
from tests.plaintext_watch import leaks, opened_for_writing, watched, written
from tests.story import unchanged, write_onnx

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Box:
    """A customer's box, a vendor, and a model in a folder of its own."""

    folder: Path
    home: Path
    vendor: Path
    license: Path
    plain: Path
    locked: Path
    inputs: Path


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    folder = tmp_path_factory.mktemp("patterned")
    names = ("customer", "vendor", "acme.lic", "plain", "net.locked", "x.npz")
    made = Box(folder, *(folder / name for name in names))
    made.plain.mkdir()
    write_onnx(made.plain / "net.onnx", external_data="net.data", weights=WEIGHTS)
    here("vendor", "init", "--name", "Löwe AI", "--home", made.vendor)
    here("encrypt", made.plain, "-o", made.locked, "--home", made.vendor).done()
    here("request", "-o", folder / "box.req", "--gpu", "none", "--home", made.home).done()
    terms = ("--customer", "Acme", "--days", "30", "--allow-no-gpu", "--home", made.vendor)
    here("issue", folder / "box.req", "-m", made.locked, *terms, "-o", made.license).done()
    (made.home / "trust.jwks").write_bytes((made.vendor / "trust.jwks").read_bytes())
    numpy.savez(made.inputs, numpy.ones((1, SIZE), numpy.float32))
    return made


def test_running_a_locked_model_writes_nothing_of_it(box: Box, tmp_path: Path) -> None:
    output = tmp_path / "scratch" / "y.npz"
    files = ("--license", box.license, "--input", box.inputs, "--output", output, "--home", box.home)
    with unchanged(box.folder):
        lines = watched([PROGRAM, "run", box.locked, *files], tmp_path)
    with numpy.load(output) as archive:
        assert numpy.allclose(archive["y"], WEIGHTS.sum(axis=0), rtol=1e-4), "the model was not there"
    assert output.read_bytes() in written(lines), "the trace misses what the command did write"
    assert leaks(lines) == []
    # The home is opened to lock it while the time state is written; its parent and the output's, to flush new names.
    opened = {path for path in opened_for_writing(lines) if not is_known(path)}
    assert opened == {str(box.home), str(output.parent)}
    assert os.listdir(output.parent) == ["y.npz"]
    assert files_with_pattern(Path("/dev/shm")) == []


def is_known(path: str) -> bool:
    """Returns whether a file has nothing to do with models: what Python compiled, on the first run of a new install."""
    return "/__pycache__/" in path or path == "/dev/null"


def files_with_pattern(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if holds_pattern(path.read_bytes())]


def test_encrypting_writes_nothing_readable(box: Box, tmp_path: Path) -> None:
    output = tmp_path / "scratch" / "net.locked"
    lines = watched([PROGRAM, "encrypt", box.plain, "-o", output, "--home", box.vendor], tmp_path)
    assert leaks(lines) == []
    assert files_with_pattern(tmp_path / "scratch") == []
    assert files_with_pattern(box.vendor) == []


LEAKING = {
    "write": "os.write(file, b'.' + data)",
    "pwrite64": "os.pwrite(file, data[7:], 3)",
    "writev": "os.writev(file, [b'.', data])",
    "mmap": "os.ftruncate(file, len(data)); mmap.mmap(file, len(data))[:] = data",
    "sendfile": "os.write(memory, b'.'); os.sendfile(file, memory, 0, 1)",
    "copy_file_range": "os.copy_file_range(file, os.open('leak', os.O_WRONLY), 1)",
    "sendto": "a, b = socket.socketpair(); a.setblocking(False); a.send(data)",
    "numpy's write": "import numpy; numpy.save('leak.npy', numpy.frombuffer(data, 'f4'))",
    "torch's write": "import torch; torch.save(torch.frombuffer(bytearray(data), dtype=torch.float32), 'leak.pth')",
}


@pytest.mark.parametrize("how", LEAKING)
def test_the_eyes_see_a_leak(how: str, tmp_path: Path) -> None:
    """Without this, the tests above could pass because they look at the wrong thing."""
    prepare = f"""
import mmap, os, socket
data = bytes.fromhex("{PATTERN.hex()}") * 4096
file, memory = os.open("leak", os.O_RDWR | os.O_CREAT), os.memfd_create("memory")
"""
    lines = watched([sys.executable, "-c", prepare + LEAKING[how]], tmp_path)
    assert leaks(lines) != []
    assert any(path.startswith("leak") for path in opened_for_writing(lines))
    left = {"leak"} if how in ("write", "pwrite64", "writev", "mmap") else {"leak.npy", "leak.pth"}
    assert {path.name for path in files_with_pattern(tmp_path / "scratch")} <= left


def test_memory_files_are_no_leak(tmp_path: Path) -> None:
    code = f"""
import mmap, os
data = bytes.fromhex("{PATTERN.hex()}") * 4096
memory = os.memfd_create("memory")
os.ftruncate(memory, len(data))
mmap.mmap(memory, len(data))[:] = data
"""
    assert leaks(watched([sys.executable, "-c", code], tmp_path)) == []
