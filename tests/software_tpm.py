"""Software TPMs (swtpm) for tests, manufactured with endorsement certificates by authorities that the tests made."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.components import need, need_module

__all__ = [
    "Manufacturer",
    "SoftwareTpm",
    "TpmFactory",
    "need_tpm",
    "other_tpm",
    "posing_tpm",
    "software_tpm",
    "tpm_factory",
]

START_SECONDS = 20


@dataclass(frozen=True)
class Manufacturer:
    """A maker of TPMs, with a certificate authority of its own.

    Attributes:
        folder: where swtpm_localca keeps its keys.
    """

    folder: Path

    @property
    def bundle(self) -> Path:
        """The certificates that a vendor who trusts this maker puts into the bundle: its root and its issuer."""
        path = self.folder / "bundle.pem"
        if not path.exists():
            names = ("swtpm-localca-rootca-cert.pem", "issuercert.pem")
            path.write_bytes(b"".join((self.folder / name).read_bytes() for name in names))
        return path

    def make(self, state: Path, certify: bool = True) -> None:
        """Makes the state of a new TPM, with endorsement keys and, if it is certified, their certificates."""
        configuration = self.folder / "setup.conf"
        configuration.write_text(
            "create_certs_tool=/usr/bin/swtpm_localca\n"
            f"create_certs_tool_config={self.folder}/localca.conf\n"
            f"create_certs_tool_options={self.folder}/localca.options\n"
        )
        (self.folder / "localca.conf").write_text(
            f"statedir={self.folder}\nsigningkey={self.folder}/signkey.pem\n"
            f"issuercert={self.folder}/issuercert.pem\ncertserial={self.folder}/certserial\n"
        )
        (self.folder / "localca.options").write_text(
            "--platform-manufacturer Tests\n--platform-version 1\n--platform-model Box\n"
        )
        state.mkdir()
        command = ["swtpm_setup", "--tpm2", "--tpmstate", str(state), "--config", str(configuration)]
        options = ["--create-ek-cert"] if certify else []
        subprocess.run([*command, *options], check=True, capture_output=True)


@dataclass(frozen=True)
class SoftwareTpm:
    """A TPM that runs.

    Attributes:
        maker: who certified it.
        state: the folder with all that it knows.
        tcti: how it is named.
    """

    maker: Manufacturer
    state: Path
    tcti: str


@contextlib.contextmanager
def running(maker: Manufacturer, state: Path) -> Iterator[SoftwareTpm]:
    """Runs a TPM of a state. Its sockets are in a folder of their own: their names may have 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="tpm-"))
    socket = folder / "sock"
    process = subprocess.Popen(
        [
            # A test run that is killed cannot end what it started.
            *("setpriv", "--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}"),
            *("--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl"),
            *("--flags", "not-need-init,startup-clear"),
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (_listens(socket) and _listens(Path(f"{socket}.ctrl"))):
            assert process.poll() is None, "swtpm ended"
            assert time.monotonic() < deadline, "swtpm does not start"
            time.sleep(0.01)
        yield SoftwareTpm(maker, state, f"swtpm:path={socket}")
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _listens(socket: Path) -> bool:
    """Tells whether connections are taken; a socket's name is there a moment before that (proc_net_unix, unix(7))."""
    lines = Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()
    listening = "00010000"  # The kernel's flag __SO_ACCEPTCON, in the fourth column.
    return any(line.split()[3] == listening for line in lines if line.endswith(f" {socket}"))


class TpmFactory:
    """Makes TPMs, and ends them with the test run."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.maker = self.new_maker("maker")

    def new_maker(self, name: str) -> Manufacturer:
        """Returns another maker of TPMs, whom nobody trusts yet."""
        folder = self._folder / name
        folder.mkdir()
        return Manufacturer(folder)

    def new(self, name: str, maker: Manufacturer | None = None, certify: bool = True) -> SoftwareTpm:
        """Makes a TPM and starts it."""
        state = self._folder / f"state-{name}"
        (maker or self.maker).make(state, certify)
        return self.start(state, maker)

    def start(self, state: Path, maker: Manufacturer | None = None) -> SoftwareTpm:
        """Starts a TPM of a state that is there."""
        return self._stack.enter_context(running(maker or self.maker, state))


def need_tpm() -> None:
    """Skips the test where software TPMs cannot be run."""
    for program in ("swtpm", "swtpm_setup", "swtpm_localca", "setpriv"):
        need(program)
    need_module("tpm2_pytss")


@pytest.fixture(scope="session")
def tpm_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TpmFactory]:
    """Returns what makes TPMs."""
    need_tpm()
    with contextlib.ExitStack() as stack:
        yield TpmFactory(tmp_path_factory.mktemp("tpms"), stack)


@pytest.fixture(scope="session")
def software_tpm(tpm_factory: TpmFactory) -> SoftwareTpm:
    """Returns the TPM of the licensed box, of a maker whom the vendor trusts."""
    return tpm_factory.new("licensed")


@pytest.fixture(scope="session")
def other_tpm(tpm_factory: TpmFactory) -> SoftwareTpm:
    """Returns another TPM of the same maker."""
    return tpm_factory.new("other")


@pytest.fixture(scope="session")
def posing_tpm(tpm_factory: TpmFactory) -> SoftwareTpm:
    """Returns a TPM that somebody made, with certificates of an authority that looks like the maker's."""
    return tpm_factory.new("posing", tpm_factory.new_maker("poser"))
