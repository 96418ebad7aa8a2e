"""The software device key: the owner's alone, bound to the machine, never lost, and never open when it is damaged."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from licensing.device_key import (
    DEVICE_KEY_BITS,
    MAX_KEY_FILE_BYTES,
    SoftwareDeviceKey,
    create_device_key,
    device_key_path,
    open_device_key,
    wrap_secret,
)
from licensing.encoding import b64url_encode
from licensing.errors import (
    DeviceKeyMismatchError,
    DeviceKeyMissingError,
    FileAccessError,
    LicensingError,
    MalformedError,
)
from licensing.jwk import thumbprint
from licensing.jws import parse_signed, verify_signature
from licensing.time_state import state_path
from tests.lock_scene import MACHINE, OTHER_MACHINE, Scene

PASSWORD = b64url_encode(MACHINE.derive("device-key")).encode()
SECRET = bytes(range(32))


def refused(call: Callable[[], object]) -> LicensingError:
    with pytest.raises(LicensingError) as refusal:
        call()
    return refusal.value


def pem_of(key: Any, password: bytes | None = PASSWORD, format: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    encryption = serialization.NoEncryption() if password is None else BestAvailableEncryption(password)
    return bytes(key.private_bytes(Encoding.PEM, format, encryption))


# Making and opening.


def test_a_new_key_opens_signs_and_decrypts(tmp_path: Path) -> None:
    made = create_device_key(tmp_path / "home", MACHINE)
    opened = open_device_key(tmp_path / "home", MACHINE, for_signing=True)
    assert opened.public_key == made.public_key
    assert (
        (opened.public_key.key_size, opened.public_key.public_numbers().e) == (DEVICE_KEY_BITS, 65537) == (3072, 65537)
    )
    assert opened.thumbprint == thumbprint(made.public_key)
    assert opened.tier == "software"
    assert opened.unwrap_secret(wrap_secret(made.public_key, SECRET)) == SECRET
    assert isinstance(opened, SoftwareDeviceKey)
    signed = parse_signed(opened.sign({"a": 1}, "test+jwt"), "test+jwt", "text", MalformedError)
    verify_signature(signed, made.public_key, "text")


@pytest.mark.usefixtures("quick_keys")
def test_home_and_key_are_the_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_device_key(tmp_path / "home", MACHINE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert stat.S_IMODE(device_key_path(tmp_path / "home").stat().st_mode) == 0o600
    assert stat.S_IMODE(state_path(tmp_path / "home").stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path / "home")) == ["device-key.pem", "time-state.json"]


def test_the_file_is_encrypted_pkcs_8_under_the_machines_password(copied_home: Path, lock_scene: Scene) -> None:
    pem = device_key_path(copied_home).read_bytes()
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    key = serialization.load_pem_private_key(pem, PASSWORD)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.public_key() == lock_scene.box.device_key.public_key
    assert MACHINE.machine_id.encode() not in pem


def test_a_key_does_not_show_itself(lock_scene: Scene) -> None:
    key = lock_scene.box.device_key
    assert repr(key) == f"SoftwareDeviceKey(tier='software', thumbprint='{key.thumbprint}')"


def test_a_copied_key_does_not_open_on_another_machine(copied_home: Path) -> None:
    for for_signing in (False, True):
        error = refused(lambda for_signing=for_signing: open_device_key(copied_home, OTHER_MACHINE, for_signing))  # type: ignore[misc]
        assert isinstance(error, DeviceKeyMismatchError)
        assert error.reason == "device_key_mismatch"
        assert "made on another one, or it is damaged" in error.message


def test_a_missing_key_says_that_it_cannot_be_made_again(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        error = refused(lambda directory=directory: open_device_key(directory, MACHINE))  # type: ignore[misc]
        assert isinstance(error, DeviceKeyMissingError)
        assert (error.reason, "cannot be made again" in error.hints[1]) == ("device_key_missing", True)


def test_what_is_no_readable_file_is_refused(tmp_path: Path, closed_directory: Path) -> None:
    error = refused(lambda: open_device_key(closed_directory, MACHINE))
    assert isinstance(error, FileAccessError)
    assert error.reason == "file_unreadable"


def test_a_directory_or_a_pipe_in_the_place_of_the_key(tmp_path: Path) -> None:
    for number, make in enumerate((os.mkdir, os.mkfifo)):
        home = tmp_path / str(number)
        home.mkdir()
        make(device_key_path(home))
        assert refused(lambda home=home: open_device_key(home, MACHINE)).reason == "not_a_file"  # type: ignore[misc]


# Damage.


def outcome(call: Callable[[], object]) -> object:
    """Returns what a call returns, or the reason of its refusal; any other error fails the test."""
    try:
        return call()
    except LicensingError as error:
        return error.reason


def damaged(path: Path, positions: range) -> Iterator[int]:
    """Damages a file at one position after the other."""
    data = path.read_bytes()
    for position in positions:
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x01]) + data[position + 1 :])
        yield position
    path.write_bytes(data)


def test_a_damaged_key_gives_the_right_secret_or_the_typed_error(copied_home: Path, lock_scene: Scene) -> None:
    """The encryption of the file has no tag: a change in the middle leaves a key with a wrong number or two.

    RSA can do without some of them. A wrong secret never comes out: OAEP sees to that.
    """
    path, wrapped = device_key_path(copied_home), wrap_secret(lock_scene.box.device_key.public_key, SECRET)
    outcomes = {
        outcome(lambda: open_device_key(copied_home, MACHINE).unwrap_secret(wrapped))
        for _ in damaged(path, range(0, path.stat().st_size, 17))
    }
    assert outcomes <= {"device_key_mismatch", SECRET}
    assert "device_key_mismatch" in outcomes


def test_a_damaged_key_never_signs(copied_home: Path, lock_scene: Scene) -> None:
    """A signature by a damaged RSA key could give the key away, so that its numbers are checked before."""
    path, key = device_key_path(copied_home), lock_scene.box.device_key._private_key
    for position in damaged(path, range(300, path.stat().st_size - 100, 170)):
        assert outcome(lambda: open_device_key(copied_home, MACHINE, for_signing=True)) == "device_key_mismatch", (
            position
        )
    opened = open_device_key(copied_home, MACHINE, for_signing=True)
    assert isinstance(opened, SoftwareDeviceKey)
    assert opened._private_key.private_numbers() == key.private_numbers()


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.5, 0.9, 0.97, 0.99])
def test_a_key_that_is_cut_short(share: float, copied_home: Path) -> None:
    path = device_key_path(copied_home)
    os.truncate(path, int(share * path.stat().st_size))
    assert refused(lambda: open_device_key(copied_home, MACHINE)).reason == "device_key_mismatch"


def wrong_files(small_key: rsa.RSAPrivateKey) -> dict[str, bytes]:
    right = pem_of(small_key)
    return {
        "empty": b"",
        "zeros": bytes(2000),
        "text": b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nhello\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "another password": pem_of(small_key, b"another password"),
        "no password": pem_of(small_key, None),
        "no password, old form": pem_of(small_key, None, PrivateFormat.TraditionalOpenSSL),
        "DER": small_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD)),
        "a public key": small_key.public_key().public_bytes(
            Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "an elliptic key": pem_of(ec.generate_private_key(ec.SECP256R1())),
        "a license": b'{"license":"a.b.c","grants":[]}',
        "too long": right.ljust(MAX_KEY_FILE_BYTES + 1),
        "huge": right.ljust(5_000_000),
    }


def test_what_is_no_device_key_is_refused(small_key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    path = device_key_path(tmp_path)
    path.write_bytes(pem_of(small_key).ljust(MAX_KEY_FILE_BYTES))
    assert open_device_key(tmp_path, MACHINE).public_key == small_key.public_key()
    for name, data in wrong_files(small_key).items():
        path.write_bytes(data)
        for for_signing in (False, True):
            error = refused(lambda for_signing=for_signing: open_device_key(tmp_path, MACHINE, for_signing))  # type: ignore[misc]
            assert error.reason == "device_key_mismatch", name


def test_secrets_for_another_key_or_of_another_kind_do_not_unwrap(
    lock_scene: Scene, small_key: rsa.RSAPrivateKey
) -> None:
    key = lock_scene.box.device_key
    wrapped = wrap_secret(key.public_key, SECRET)
    for wrong in (
        b"",
        bytes(384),
        b"\xff" * 384,
        wrapped[:-1],
        wrapped + b"\0",
        wrapped[:-1] + bytes([wrapped[-1] ^ 1]),
        wrap_secret(small_key.public_key(), SECRET),
        wrap_secret(key.public_key, SECRET[:-1]),
        wrap_secret(key.public_key, SECRET + b"\0"),
        key.public_key.encrypt(SECRET, padding.PKCS1v15()),
    ):
        with pytest.raises(DeviceKeyMismatchError) as refusal:
            key.unwrap_secret(wrong)
        assert refusal.value.message == "the license was issued for another device key"
