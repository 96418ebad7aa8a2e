"""A vendor's home, a model and a license request as files, for tests that disturb the commands that work on them."""

import contextlib
import os
import sqlite3
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from cryptors import read_header
from cryptors.reader import LockedModel
from licensing.vendor_home import VendorHome
from tests.command_line import here

__all__ = ["Desk", "desk", "write_model"]

HOME_FILES = ["master.json", "registry.db", "signing-key.sealed", "trust.jwks", "vendor.json"]


@dataclass(frozen=True)
class Desk:
    """A vendor's desk.

    Attributes:
        home: the vendor's home.
        model: a plaintext model of four segments.
        locked: the same, locked; the registry knows it.
        request: a license request without a GPU.
    """

    home: Path
    model: Path
    locked: Path
    request: Path

    def encrypt(self, output: Path, *options: str) -> tuple[str | Path, ...]:
        """Returns the arguments that encrypt the model."""
        return ("encrypt", self.model, "-o", output, "--home", self.home, *options)

    def issue(self, output: Path, *options: str) -> tuple[str | Path, ...]:
        """Returns the arguments that issue a license for the locked model."""
        terms = ("-m", str(self.locked), "--customer", "Acme", "--days", "30", "--allow-no-gpu")
        return ("issue", self.request, *terms, "-o", output, "--home", self.home, *options)

    def check_locked(self, path: Path) -> None:
        """Asserts that a locked model is whole and that the registry has its key."""
        key = VendorHome.open(self.home).content_key(read_header(path).model_id)
        with LockedModel(path, key) as locked:
            locked.verify_rest()
            assert locked.file().read_all() == self.model.read_bytes()

    def check_license(self, path: Path) -> None:
        """Asserts that a license file is whole and that the registry has it."""
        vendor = VendorHome.open(self.home)
        assert path.read_bytes() in [vendor.license_file(record.license_id) for record in vendor.licenses()]

    def check_registry(self) -> None:
        """Asserts that the registry opens, and that nothing in it contradicts itself."""
        vendor = VendorHome.open(self.home)
        for model in vendor.models():
            assert len(vendor.content_key(model.model_id)) == 32
        for record in vendor.licenses():
            assert vendor.license_file(record.license_id)
        with contextlib.closing(sqlite3.connect(self.home / "registry.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []

    def check_works(self, folder: Path) -> None:
        """Asserts that the next encryption and the next issuing succeed, and leave the home as tidy as ever."""
        here(*self.encrypt(folder / "next.locked")).done()
        self.check_locked(folder / "next.locked")
        here(*self.issue(folder / "next.lic")).done()
        self.check_license(folder / "next.lic")
        assert sorted(os.listdir(self.home)) == HOME_FILES

    def records(self) -> tuple[int, int]:
        """Returns how many models and how many licenses the registry has."""
        vendor = VendorHome.open(self.home)
        return len(vendor.models()), len(vendor.licenses())


def write_model(path: Path, size: int) -> None:
    """Writes what `torch.save` could have written, as far as its type is told, without PyTorch."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"weights")
        archive.writestr("net/data/0", os.urandom(size))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Returns a new vendor's desk; the test's folder holds nothing else."""
    folder = tmp_path / "desk"
    folder.mkdir()
    made = Desk(folder / "vendor", folder / "net.pth", folder / "net.locked", folder / "box.req")
    write_model(made.model, 3_500_000)
    here("vendor", "init", "--name", "Löwe AI", "--home", made.home)
    here(*made.encrypt(made.locked)).done()
    here("request", "-o", made.request, "--gpu", "none", "--home", folder / "customer").done()
    return made
