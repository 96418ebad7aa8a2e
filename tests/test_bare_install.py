"""The wheel, installed without any extra: what needs no framework works, and the rest says what to install."""

import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from cryptors import CryptorFactory
from tests.command_line import Outcome, environment
from tests.story import Story
from tests.vendor_desk import write_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SOURCES = ["licensing", "cryptors", "tools", "pyproject.toml", "README.md", "LICENSE"]
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")

CONSUMER = """
from pathlib import Path

from cryptors import Cryptor, CryptorError, CryptorFactory, EncryptOptions, Header, ModelType, load_model, read_header
from licensing import Hardware, LicensingError, new_content_key, read_hardware


def lock(model: Path, output: Path) -> str:
    cryptor: Cryptor = CryptorFactory.instance(ModelType.MODEL_ONNX)
    header: Header = cryptor.encrypt(model, new_content_key(), output, EncryptOptions(name="net", threads=2))
    return header.model_id


def reason(locked: Path, license: Path) -> str:
    hardware: Hardware = read_hardware()
    try:
        load_model(locked, license=license, hardware=hardware)
    except (LicensingError, CryptorError) as error:
        return error.reason
    return read_header(locked).name
"""


@dataclass(frozen=True)
class Installed:
    """A fresh environment that holds the wheel and what it depends on."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def weightlock(self, *arguments: str | Path) -> Outcome:
        return self._run(self.folder / "bin" / "weightlock", *arguments)

    def run_python(self, code: str, *arguments: str | Path) -> Outcome:
        return self._run(self.python, "-c", code, *arguments)

    def _run(self, *command: str | Path) -> Outcome:
        # In another folder, so that the sources beside these tests are not imported in place of the wheel.
        ended = subprocess.run(
            command, cwd=self.folder, env=environment(), capture_output=True, encoding="utf-8", check=False
        )
        return Outcome(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the wheel, from a copy, because building leaves its traces in the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "source" / name)
        else:
            shutil.copy(ROOT / name, folder / "source")
    subprocess.run([sys.executable, *PIP, "wheel", "--no-deps", "-w", folder, folder / "source"], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Installs the wheel, once for all workers of a test run: that takes half a minute."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made, done = Installed(shared / "bare-environment"), shared / "bare-environment-done"
    with open(shared / "bare-environment-lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", made.folder], check=True)
            subprocess.run([made.python, *PIP, "install", wheel], check=True)
            done.touch()
    return made


def write_safetensors(path: Path) -> None:
    """Writes one tensor as docs of safetensors describe the format, without its library."""
    header = json.dumps({"0.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1, 2))


def test_wheel_holds_the_packages_and_their_types_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"licensing/py.typed", "cryptors/py.typed", "tools/py.typed"} <= set(names)
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"licensing", "cryptors", "tools"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_no_framework_is_installed_with_it(installed: Installed) -> None:
    listed = subprocess.run([installed.python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    names = {line.split()[0].lower() for line in listed.splitlines() if line}
    assert "weightlock" in names
    assert names & {"torch", "onnx", "onnxruntime", "safetensors", "numpy", "tensorflow"} == set()


def test_program_and_packages_work(installed: Installed) -> None:
    assert installed.weightlock("--version").done().stdout.startswith("weightlock ")
    assert "encrypt" in installed.weightlock("--help").done().stdout
    where = installed.run_python("import licensing, cryptors; print(cryptors.__file__)").done().stdout
    assert str(installed.folder) in where


def test_vendor_needs_no_framework_and_the_customer_is_told_which(installed: Installed, tmp_path: Path) -> None:
    vendor, customer = tmp_path / "vendor", tmp_path / "customer"
    write_model(tmp_path / "net.pth", 1000)
    write_safetensors(tmp_path / "net.safetensors")
    (tmp_path / "x.npz").write_bytes(b"")
    assert installed.weightlock("vendor", "init", "--name", "Löwe AI", "--home", vendor).code == 0
    installed.weightlock("request", "--gpu", "none", "-o", tmp_path / "box.req", "--home", customer).done()
    for name, extra in (("net.pth", "torch"), ("net.safetensors", "safetensors")):
        locked = tmp_path / f"{name}.locked"
        installed.weightlock("encrypt", tmp_path / name, "-o", locked, "--home", vendor).done()
        assert installed.weightlock("inspect", locked, "--json").done().facts["type"] == extra
        installed.weightlock("decrypt", locked, "-o", tmp_path / "back", "--force", "--home", vendor).done()
        assert (tmp_path / "back").read_bytes() == (tmp_path / name).read_bytes()
        terms = ("--customer", "Acme", "--days", "3", "--allow-no-gpu", "--home", vendor)
        license = tmp_path / f"{name}.lic"
        installed.weightlock("issue", tmp_path / "box.req", "-m", locked, *terms, "-o", license).done()
        files = ("--license", license, "--input", tmp_path / "x.npz", "--output", tmp_path / "y.npz")
        options = ("--trust", vendor / "trust.jwks", "--home", customer, "--architecture", "net.py:Net", "--json")
        check_missing(installed.weightlock("run", locked, *files, *options), extra)


def check_missing(outcome: Outcome, extra: str) -> None:
    assert "which is not installed" in outcome.refused(5, "framework_missing")
    assert outcome.facts["hints"] == [f"install it with: pip install 'weightlock[{extra}]'"]


DECRYPT = """
import sys
from cryptors import CryptorError, CryptorFactory, read_header
try:
    CryptorFactory.instance(read_header(sys.argv[1]).model_type).decrypt(sys.argv[1], crypt_key=sys.argv[2])
except CryptorError as error:
    print(error.reason, *error.hints)
"""


@pytest.mark.parametrize(("type_name", "extra"), [("torch", "torch"), ("safetensors", "safetensors")])
def test_python_interface_says_which_extra_is_missing(
    type_name: str, extra: str, installed: Installed, tmp_path: Path
) -> None:
    write = write_safetensors if type_name == "safetensors" else lambda path: write_model(path, 1000)
    write(tmp_path / "net")
    key = CryptorFactory.instance(type_name).generate_crypt_key(tmp_path / "key")
    CryptorFactory.instance(type_name).encrypt(tmp_path / "net", key, tmp_path / "net.locked")
    printed = installed.run_python(DECRYPT, tmp_path / "net.locked", tmp_path / "key").done().stdout
    assert printed == f"framework_missing install it with: pip install 'weightlock[{extra}]'\n"


def test_onnx_says_which_extra_is_missing(installed: Installed, story: Story, tmp_path: Path) -> None:
    vendor = shutil.copytree(story.vendor, tmp_path / "vendor")
    arguments = ("encrypt", story.plain, "-o", tmp_path / "net.locked", "--home", vendor, "--json")
    installed.weightlock(*arguments).done()
    check_missing(installed.weightlock(*story.run(tmp_path / "y.npz", "--json")), "onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.locked", "vendor"]


def test_callers_are_type_checked_against_it(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "consumer.py").write_text(CONSUMER)
    (tmp_path / "wrong.py").write_text(CONSUMER.replace("-> str:", "-> int:"))
    checked = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(installed.python)]
    ended = subprocess.run([*checked, "consumer.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    assert subprocess.run([*checked, "wrong.py"], cwd=tmp_path, capture_output=True, check=False).returncode == 1
