"""Keys live no longer than they are needed: what another process finds in the memory of one that has loaded a model."""

import os
import pickle
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy
import pytest
import safetensors.numpy
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cryptors import CryptorFactory, ModelType, read_header
from licensing.device_key import open_device_key
from licensing.key_derivation import derive_kek, hardware_salt
from licensing.license import LicenseFile, read_claims
from licensing.secret_memory import SecretMemory
from tests.licensed_box import LicensedBox

SCAN = textwrap.dedent("""
    import sys

    def found(pid, needle):
        with open(f"/proc/{pid}/maps") as file:
            lines = file.read().splitlines()
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for line in lines:
                if " rw" not in line:
                    continue
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                try:
                    memory.seek(start)
                    if needle in memory.read(end - start):
                        return True
                except OSError:
                    continue
        return False

    print(*(name for name, needle in (line.split() for line in sys.stdin) if found(sys.argv[1], bytes.fromhex(needle))))
""")

LOAD = """
import os, pickle, sys
from cryptors import CryptorFactory
from licensing import Hardware
arguments = pickle.loads(bytes.fromhex(sys.argv[1]))
cryptor = CryptorFactory.instance("safetensors")
"""
LOADED = "kept = cryptor.load(**arguments, framework='np')"
OPEN = "kept = cryptor.load(**arguments, framework='np', lazy=True); kept['weight']"
CONTROL = """
from cryptors.keys import KeySource
model = arguments.pop("model")
kept = KeySource(None, **arguments).content_key(model)
"""
WAIT = "print('ready', flush=True); sys.stdin.readline()"


@dataclass(frozen=True)
class Scene:
    """A locked model, its license, and the keys that no process should keep."""

    locked: Path
    license: Path
    keys: dict[str, bytes]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, licensed_box: LicensedBox) -> Scene:
    folder = tmp_path_factory.mktemp("keys")
    key, model, locked = os.urandom(32), folder / "model.safetensors", folder / "model.safetensors.locked"
    safetensors.numpy.save_file({"weight": numpy.zeros((700, 700), numpy.float32)}, model)
    CryptorFactory.instance(ModelType.MODEL_SAFETENSORS).encrypt(model, key, locked)
    header = read_header(locked)
    license = licensed_box.license(folder / "license.lic", [(header, key)])
    file = LicenseFile.parse(license.read_bytes())
    claims = read_claims(file)
    secret = open_device_key(licensed_box.home, licensed_box.hardware.machine).unwrap_secret(claims.wrapped_secret)
    (gpu,) = licensed_box.hardware.gpus.gpus
    salt = hardware_salt(licensed_box.hardware.machine.fingerprint, gpu.identity)
    kek = derive_kek(secret, salt, file.signed.text, header.model_id, header.key_id, "slot-1")
    keys = {"content-key": key, "license-secret": secret, "kek": kek, "stream-key": stream_key(locked, key)}
    return Scene(locked, license, keys)


def stream_key(locked: Path, content_key: bytes) -> bytes:
    """Returns the key that Tink's streaming AEAD derives for one file (docs/spec/container.md)."""
    header = read_header(locked)
    salt = locked.read_bytes()[header.payload_offset + 1 :][:32]
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=header.encoded).derive(content_key)


def kept_keys(code: str, scene: Scene, box: LicensedBox) -> set[str]:
    """Returns which keys another process finds in one that has run some code and still holds what it made."""
    arguments = pickle.dumps({"model": scene.locked, **box.unlocking(scene.license)}).hex()
    target = [sys.executable, "-c", f"{LOAD}\n{code}\n{WAIT}", arguments]
    with subprocess.Popen(target, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        needles = "".join(f"{name} {key.hex()}\n" for name, key in scene.keys.items())
        scan = [sys.executable, "-c", SCAN, str(process.pid)]
        found = subprocess.run(scan, input=needles, capture_output=True, text=True, check=True).stdout
        process.communicate("\n")
    return set(found.split())


def test_whoever_keeps_a_key_has_it(scene: Scene, licensed_box: LicensedBox) -> None:
    """The control: the scan finds a content key that a program holds."""
    assert kept_keys(CONTROL, scene, licensed_box) == {"content-key"}


def test_no_key_is_left_when_a_model_is_loaded(scene: Scene, licensed_box: LicensedBox) -> None:
    assert kept_keys(LOADED, scene, licensed_box) == set()


def test_model_that_stays_open_has_its_key_in_secret_memory(scene: Scene, licensed_box: LicensedBox) -> None:
    with SecretMemory(32) as memory:
        is_secret = memory.kind == "secret"  # Else it can be read, and is only kept out of core dumps and off the disk.
    assert kept_keys(OPEN, scene, licensed_box) == (set() if is_secret else {"stream-key"})


def test_stream_key_is_the_one_that_is_looked_for(scene: Scene, licensed_box: LicensedBox) -> None:
    """The second control: without secret memory, the scan finds the key of a model that stays open."""
    code = "import licensing.secret_memory as memory; memory._secret_mapping = lambda size: None\n" + OPEN
    assert kept_keys(code, scene, licensed_box) == {"stream-key"}
