"""Making a vendor's home: what is there afterwards, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from licensing import vendor_files
from licensing.errors import StorageError, UsageError, VendorHomeError
from licensing.files import write_new_file
from licensing.trust import TrustedKeys
from licensing.vendor_home import VendorHome
from tests.licensing.vendors import add_model

FILES = {"master.json", "registry.db", "signing-key.sealed", "trust.jwks", "vendor.json"}


def test_a_new_home_is_the_owners_alone_except_for_the_trust_file(tmp_path: Path) -> None:
    home = VendorHome.create(tmp_path / "deep" / "vendor", "Löwe AI")
    directory = tmp_path / "deep" / "vendor"
    assert directory.stat().st_mode & 0o777 == 0o700
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in directory.iterdir()}
    assert modes == {**dict.fromkeys(FILES, 0o600), "trust.jwks": 0o644}
    assert (home.name, home.trust_path) == ("Löwe AI", directory / "trust.jwks")
    assert VendorHome.open(directory).name == "Löwe AI"


@pytest.mark.parametrize(("algorithm", "kty"), [("EdDSA", "OKP"), ("PS256", "RSA"), ("ES256", "EC")])
def test_the_trust_file_holds_the_one_public_key(algorithm: Any, kty: str, tmp_path: Path) -> None:
    home = VendorHome.create(tmp_path / "vendor", "Löwe AI", algorithm=algorithm)
    (key,) = json.loads(home.trust_path.read_bytes())["keys"]
    assert (key["kty"], key["alg"], key["use"]) == (kty, algorithm, "sig")
    assert not {"d", "p", "q"} & set(key)
    assert list(TrustedKeys.read(home.trust_path).keys) == [key["kid"]]


def test_a_home_is_never_made_over_another(tmp_path: Path) -> None:
    model_id, content_key = add_model(VendorHome.create(tmp_path, "Löwe AI"))
    with pytest.raises(VendorHomeError) as refusal:
        VendorHome.create(tmp_path, "Löwe AI")
    assert refusal.value.reason == "vendor_home_exists"
    assert VendorHome.open(tmp_path).content_key(model_id) == content_key


def test_an_empty_directory_is_taken_and_another_is_not(tmp_path: Path) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "master.json").write_bytes(b"precious")
    VendorHome.create(tmp_path / "empty", "Löwe AI")
    with pytest.raises(VendorHomeError) as refusal:
        VendorHome.create(tmp_path / "full", "Löwe AI")
    assert refusal.value.reason == "vendor_home_not_empty"
    assert [entry.read_bytes() for entry in (tmp_path / "full").iterdir()] == [b"precious"]


def test_a_home_that_lost_its_vendor_file_is_neither_opened_nor_cleared(tmp_path: Path) -> None:
    VendorHome.create(tmp_path, "Löwe AI")
    (tmp_path / "vendor.json").unlink()
    kept = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    with pytest.raises(VendorHomeError):
        VendorHome.open(tmp_path)
    with pytest.raises(VendorHomeError):
        VendorHome.create(tmp_path, "Löwe AI")
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == kept


def test_a_missing_home_says_how_to_make_one(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(VendorHomeError) as refusal:
            VendorHome.open(directory)
        assert refusal.value.reason == "vendor_home_missing"
        assert "weightlock vendor init --name NAME" in refusal.value.hints[0]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "a" * 201}, {"name": "a\nb"}, {"algorithm": "HS256"}, {"passphrase": ""}], ids=str
)
def test_wrong_usage_leaves_nothing_behind(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        VendorHome.create(tmp_path, **{"name": "Löwe AI", **wrong})
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vendor").write_bytes(b"precious")
    with pytest.raises(StorageError):
        VendorHome.create(tmp_path / "vendor", "Löwe AI")
    assert (tmp_path / "vendor").read_bytes() == b"precious"


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, *rest: Any, **options: Any) -> None:
        if path.name == "vendor.json":
            raise StorageError("there is no space left", reason="storage_full")
        write_new_file(path, *rest, **options)

    monkeypatch.setattr(vendor_files, "write_new_file", fail)
    with pytest.raises(StorageError):
        VendorHome.create(tmp_path, "Löwe AI")
    assert list(tmp_path.iterdir()) == []
