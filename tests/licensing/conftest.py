"""What the tests of licensing share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from licensing.device_key import device_key_path
from tests.capabilities import obeying_permissions
from tests.lock_scene import Scene


@pytest.fixture
def closed_directory(tmp_path: Path) -> Iterator[Path]:
    """Returns a directory that the process has no permission for, even if it is root's."""
    (closed := tmp_path / "closed").mkdir(mode=0)
    with obeying_permissions():
        yield closed
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
