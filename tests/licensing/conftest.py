"""What the tests of licensing share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from licensing.device_key import device_key_path
from tests.lock_scene import Scene

NOBODY = 65534


@pytest.fixture
def closed_directory(tmp_path: Path) -> Iterator[Path]:
    """Returns a directory that the process has no permission for.

    The system does not apply permissions to root, so root becomes somebody else for the time of the test: nobody else
    may enter the directory of root's tests.
    """
    user = os.geteuid()
    closed = tmp_path / "closed"
    closed.mkdir()
    if user == 0:
        os.seteuid(NOBODY)
    else:
        closed.chmod(0)
    yield closed
    if user == 0:
        os.seteuid(0)
    closed.chmod(0o700)


@pytest.fixture(scope="session")
def small_key() -> rsa.RSAPrivateKey:
    """Returns a key that is made faster than a device key; what is stored does not depend on its length."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def quick_keys(small_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every new RSA key of a test the small one."""
    monkeypatch.setattr(rsa, "generate_private_key", lambda **options: small_key)


@pytest.fixture
def copied_home(lock_scene: Scene, tmp_path: Path) -> Path:
    """Returns a copy of the licensed box's home, to damage."""
    home = tmp_path / "copied"
    home.mkdir()
    device_key_path(home).write_bytes(device_key_path(lock_scene.box.home).read_bytes())
    return home
