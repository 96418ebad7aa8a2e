"""The files of the vendor's home, and how they come to be.

    master.json         the master key, protected by a passphrase where the vendor sets one
    signing-key.sealed  the private signing key, sealed under the master key
    trust.jwks          the public signing key, for customers
    registry.db         models, content keys, customers, devices and licenses
    vendor.json         the vendor's name and the thumbprint of the signing key

`vendor.json` is written last: a directory that holds it is a whole home. While a home is made, a claim file, locked
by the process that makes it, says so; a claim without a `vendor.json` is what an interrupted creation leaves, and the
next creation clears it away. Nothing was ever issued from such a home, so nothing is lost with it. The directory is
not built under another name and renamed: it may be a mount point, or its parent may belong to somebody else.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from licensing.errors import FileAccessError, MalformedError, UsageError, VendorHomeError
from licensing.files import make_directory, read_bounded, storage_error, write_new_file
from licensing.jwk import THUMBPRINT_PATTERN, thumbprint
from licensing.master_key import MasterKey
from licensing.registry import Registry
from licensing.signing_key import SigningAlgorithm, new_signing_key, seal_signing_key
from licensing.strict_json import Fields, canonical, parse_canonical
from licensing.trust import TrustedKeys

__all__ = ["VendorFiles", "VendorIdentity", "check_name", "create_vendor_files"]

VENDOR_FILE_VERSION = 1
MAX_FILE_BYTES = 16 * 1024

_BACKUP_HINT = "restore the vendor's home from a backup"


class VendorFiles:
    """Where the files of one vendor's home are."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.master_key = directory / "master.json"
        self.signing_key = directory / "signing-key.sealed"
        self.trust = directory / "trust.jwks"
        self.registry = directory / "registry.db"
        self.vendor = directory / "vendor.json"
        self.claim = directory / "creation-unfinished"

    def read(self, path: Path) -> bytes:
        """Returns the content of one of the home's small files.

        Raises:
            VendorHomeError: it is missing.
            FileAccessError: it cannot be read.
        """
        try:
            return read_bounded(path, "file of the vendor's home", MAX_FILE_BYTES)
        except FileAccessError as cause:
            if cause.reason == "file_not_found":
                raise self._missing(path) from cause
            raise

    def _missing(self, path: Path) -> VendorHomeError:
        if path != self.vendor:
            return VendorHomeError(f"the vendor's home lacks {str(path)!r}", _BACKUP_HINT)
        if self.claim.exists():
            return VendorHomeError(
                f"the vendor's home {str(self.directory)!r} is not whole: making it was interrupted",
                "run 'weightlock vendor init --name NAME' again; nothing was issued from it",
                reason="vendor_home_incomplete",
            )
        return VendorHomeError(
            f"there is no vendor's home in {str(self.directory)!r}",
            "make one with 'weightlock vendor init --name NAME'",
            "if it is somewhere else, name it with --home",
            reason="vendor_home_missing",
        )


@dataclass(frozen=True)
class VendorIdentity:
    """What `vendor.json` says.

    Attributes:
        name: the vendor's name, as licenses show it.
        signing_key: the thumbprint of the key that signs licenses.
    """

    name: str
    signing_key: str

    @classmethod
    def parse(cls, data: bytes) -> "VendorIdentity":
        """Parses the file.

        Raises:
            VendorHomeError: it is damaged, or a newer version of this program wrote it.
        """
        what = "vendor file"
        try:
            fields = Fields(parse_canonical(data, what, MalformedError, MAX_FILE_BYTES), what, MalformedError)
            if fields.integer("version") != VENDOR_FILE_VERSION:
                raise VendorHomeError("the vendor's home has an unknown version", "install a newer weightlock")
            fields.only("version", "name", "signing_key")
            return cls(fields.text("name"), fields.text("signing_key", 43, THUMBPRINT_PATTERN))
        except MalformedError as cause:
            raise VendorHomeError(cause.message, _BACKUP_HINT) from cause

    def to_bytes(self) -> bytes:
        """Returns the file in canonical form."""
        return canonical({"version": VENDOR_FILE_VERSION, "name": self.name, "signing_key": self.signing_key})


def check_name(text: str, what: str) -> None:
    """Refuses a name that licenses could not carry.

    Raises:
        UsageError: it is not printable text of 1 to 200 characters.
    """
    if not 1 <= len(text) <= 200 or not text.isprintable():
        raise UsageError(f"the {what} must be printable text of 1 to 200 characters")


def create_vendor_files(
    files: VendorFiles, name: str, algorithm: SigningAlgorithm, passphrase: str | None, scrypt_cost: int
) -> None:
    """Makes the files of a new home; arguments and errors as in `VendorHome.create`."""
    check_name(name, "vendor's name")
    make_directory(files.directory)
    with _claimed(files):
        signing_key, master_key = new_signing_key(algorithm), MasterKey.generate()
        public_key = signing_key.public_key()
        identity = VendorIdentity(name, thumbprint(public_key))
        write_new_file(files.master_key, master_key.to_bytes(passphrase, scrypt_cost), mode=0o600)
        write_new_file(files.signing_key, seal_signing_key(signing_key, master_key), mode=0o600)
        write_new_file(files.trust, TrustedKeys({identity.signing_key: public_key}).to_bytes(), mode=0o644)
        Registry.create(files.registry)
        write_new_file(files.vendor, identity.to_bytes(), mode=0o600)


@contextlib.contextmanager
def _claimed(files: VendorFiles) -> Iterator[None]:
    """Holds the directory for one creation, and clears away what an interrupted one left or what fails now."""
    try:
        _check_free(files)
        descriptor = os.open(files.claim, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(files, descriptor)
            try:
                _check_free(files)  # Another process may have finished between the first look and the lock.
                yield from _cleared(files)
            finally:
                files.claim.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
    except OSError as cause:
        raise storage_error(files.directory, cause) from cause


def _cleared(files: VendorFiles) -> Iterator[None]:
    _clear(files)
    try:
        yield
    except BaseException:
        _clear(files)
        raise


def _check_free(files: VendorFiles) -> None:
    directory = repr(str(files.directory))
    names = set(os.listdir(files.directory))
    if files.vendor.name in names:
        raise VendorHomeError(
            f"there is a vendor's home in {directory} already",
            "use it as it is, or name another directory with --home",
            reason="vendor_home_exists",
        )
    if names and files.claim.name not in names:
        raise VendorHomeError(
            f"the directory {directory} is not empty",
            "name an empty or a new directory with --home",
            reason="vendor_home_not_empty",
        )


def _lock(files: VendorFiles, descriptor: int) -> None:
    """Locks the claim file; the lock ends with the process, so that a killed one does not keep it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A claim that was removed since it was opened belonged to a creation that has just ended.
        held = os.path.samestat(os.fstat(descriptor), os.stat(files.claim))
    except (BlockingIOError, FileNotFoundError):
        held = False
    if not held:
        raise VendorHomeError(
            f"another process is making a vendor's home in {str(files.directory)!r}", reason="vendor_home_busy"
        )


def _clear(files: VendorFiles) -> None:
    if files.vendor.exists():
        return  # The home became whole before the failure, so it stays.
    made = (files.master_key, files.signing_key, files.trust, files.registry)
    for name in os.listdir(files.directory):
        # Temporary files are named after their target with a dot before it, and SQLite's journal with an ending.
        if any(name.removeprefix(".").startswith(path.name) for path in made):
            (files.directory / name).unlink()
