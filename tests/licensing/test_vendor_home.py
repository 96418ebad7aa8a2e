"""The vendor's home: its secrets at rest, its passphrase, and the licenses that it issues."""

import base64
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from licensing.errors import PassphraseError, StorageError, VendorHomeError
from licensing.registry import Registry
from licensing.signing_key import SigningAlgorithm
from licensing.vendor_home import VendorHome
from tests.licensing.vendors import SCRYPT_COST, Box, add_model, issue, make_box, unlocked


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return make_box(tmp_path_factory.mktemp("customer"), "a" * 32)


@pytest.fixture
def home(tmp_path: Path) -> VendorHome:
    return VendorHome.create(tmp_path / "vendor", "Löwe AI")


def forbidden_forms(secret: bytes) -> list[bytes]:
    standard, url_safe = base64.b64encode(secret), base64.urlsafe_b64encode(secret)
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), standard.rstrip(b"="), url_safe.rstrip(b"=")]


@pytest.mark.parametrize("algorithm", ["EdDSA", "PS256", "ES256"])
def test_a_license_of_every_algorithm_unlocks(algorithm: SigningAlgorithm, box: Box, tmp_path: Path) -> None:
    VendorHome.create(tmp_path / "vendor", "Löwe AI", algorithm=algorithm)
    home = VendorHome.open(tmp_path / "vendor")
    model_id, content_key = add_model(home)
    issued = issue(home, box.request, model_id)
    assert unlocked(home, box, issued.data, model_id, content_key, tmp_path) == content_key


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_no_secret_lies_readable_in_any_file(passphrase: str | None, box: Box, tmp_path: Path) -> None:
    home = VendorHome.create(tmp_path / "vendor", "Löwe AI", passphrase=passphrase, scrypt_cost=SCRYPT_COST)
    model_id, content_key = add_model(home)
    issue(home, box.request, model_id)
    signing_key = home._signing_key
    assert isinstance(signing_key, Ed25519PrivateKey)
    der = signing_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    secrets = [content_key, signing_key.private_bytes_raw(), der]
    if passphrase:
        secrets += [home._master_key._key, passphrase.encode()]
    files = [entry for entry in (tmp_path / "vendor").rglob("*") if entry.is_file()]
    assert len(files) == 5
    for file in files:
        data = file.read_bytes()
        assert not [form for secret in secrets for form in forbidden_forms(secret) if form in data], file.name


def test_the_passphrase_opens_the_home_and_is_asked_for_once(box: Box, tmp_path: Path) -> None:
    made = VendorHome.create(tmp_path / "vendor", "Löwe AI", passphrase="correct horse", scrypt_cost=SCRYPT_COST)
    model_id, content_key = add_model(made)
    asked: list[str] = []

    def ask() -> str:
        asked.append("passphrase")
        return "correct horse"

    home = VendorHome.open(tmp_path / "vendor", ask)
    assert (home.models(), home.licenses(), asked) == (made.models(), [], [])
    assert home.content_key(model_id) == content_key
    issue(home, box.request, model_id)
    assert len(asked) == 1


@pytest.mark.parametrize(("given", "reason"), [(None, "passphrase_required"), ("wrong", "passphrase_wrong")])
def test_without_the_right_passphrase_nothing_is_issued_or_added(
    given: str | None, reason: str, box: Box, tmp_path: Path
) -> None:
    made = VendorHome.create(tmp_path / "vendor", "Löwe AI", passphrase="correct horse", scrypt_cost=SCRYPT_COST)
    model_id, _ = add_model(made)
    home = VendorHome.open(tmp_path / "vendor", None if given is None else lambda: given)
    for attempt in (
        lambda: home.content_key(model_id),
        lambda: issue(home, box.request, model_id),
        lambda: add_model(home),
    ):
        with pytest.raises(PassphraseError) as refusal:
            attempt()
        assert refusal.value.reason == reason
    assert (len(home.models()), home.licenses()) == (1, [])


@pytest.mark.parametrize("name", ["master.json", "signing-key.sealed", "vendor.json"])
def test_a_file_of_another_home_is_refused(name: str, home: VendorHome, box: Box, tmp_path: Path) -> None:
    model_id, _ = add_model(home)
    VendorHome.create(tmp_path / "other", "Löwe AI")
    (tmp_path / "vendor" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(VendorHomeError):
        issue(VendorHome.open(tmp_path / "vendor"), box.request, model_id)


@pytest.mark.parametrize("name", ["master.json", "signing-key.sealed", "vendor.json"])
@pytest.mark.parametrize("damage", ["changed", "cut", "emptied", "lost", "swollen"])
def test_a_damaged_file_is_refused(name: str, damage: str, home: VendorHome, box: Box, tmp_path: Path) -> None:
    model_id, _ = add_model(home)
    path = tmp_path / "vendor" / name
    data = path.read_bytes()
    changed = bytes([*data[:-1], data[-1] ^ 1])
    path.write_bytes({"changed": changed, "cut": data[:-1], "swollen": data + bytes(100_000)}.get(damage, b""))
    if damage == "lost":
        path.unlink()
    with pytest.raises(VendorHomeError):
        issue(VendorHome.open(tmp_path / "vendor"), box.request, model_id)


def test_a_full_disk_stops_issuing_with_a_clear_error(
    home: VendorHome, box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [add_model(home, f"model {number}")[0] for number in range(100)]
    connect = Registry._connect

    def connect_without_room(self: Registry) -> sqlite3.Connection:
        connection = connect(self)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    monkeypatch.setattr(Registry, "_connect", connect_without_room)
    with pytest.raises(StorageError) as refusal:
        issue(VendorHome.open(tmp_path / "vendor"), box.request, *models)
    assert refusal.value.reason == "storage_full"
    assert home.licenses() == []
    issue(home, box.request, *models)


def test_neither_the_home_nor_its_keys_show_secrets(home: VendorHome) -> None:
    home._signing_key  # noqa: B018 - Loads both keys.
    assert repr(home).startswith("VendorHome(directory=")
    assert "MasterKey()" in repr(vars(home))
