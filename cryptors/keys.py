"""Where a cryptor's content key comes from: given by the vendor, or unlocked with a license."""

import os
from dataclasses import dataclass, field
from datetime import datetime

from cryptors.header import Header
from cryptors.parallel import Progress
from cryptors.reader import LockedModel, read_header
from licensing.content_key import read_content_key
from licensing.errors import UsageError
from licensing.hardware import Hardware
from licensing.key_derivation import derived_content_key
from licensing.secret_memory import forget
from licensing.unlock import unlock

__all__ = ["KeySource"]

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class KeySource:
    """The arguments by which callers name a key; exactly one of `crypt_key` and `license` is given.

    Attributes:
        crypt_key: the content key itself, on the vendor's side.
        license: the license file, on the customer's side.
        trust, home: the trust file and the customer's home, with their defaults on the command line.
        hardware: the box as measured; by default it is measured.
        now: the time; by default the system's clock.
        device: where the model is to compute, such as "cuda:0"; None where nobody says.
    """

    crypt_key: bytes | StrPath | None = field(default=None, repr=False)
    license: StrPath | None = None
    trust: StrPath | None = None
    home: StrPath | None = None
    hardware: Hardware | None = None
    now: datetime | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if (self.crypt_key is None) == (self.license is None):
            raise UsageError("give either crypt_key or license", "customers give a license, vendors a content key")

    def open(self, model: StrPath, threads: int | None, progress: Progress | None) -> LockedModel:
        """Opens a locked model. Its content key is not kept: what stays, in secret memory, opens this file alone.

        Raises:
            LicensingError: the license does not unlock it here, or the key is not one.
            CryptorError: the file is not a locked model, or is damaged.
        """
        key = self.content_key(model)
        try:
            return LockedModel(model, key, threads, progress)
        finally:
            self.forget(key)

    def content_key(self, model: StrPath) -> bytes:
        """Returns the content key of a locked model; that of a derived model comes from the key of its parent.

        Raises:
            LicensingError: the license does not unlock it here, or the key is not one.
            CryptorError: the file is not a locked model.
        """
        header = read_header(model)
        key = self.licensed_key(header)
        if header.parent is None:
            return key
        try:
            return derived_content_key(key, header.parent.model_id, header.parent.key_id, header.model_id)
        finally:
            self.forget(key)

    def forget(self, key: bytes) -> None:
        """Overwrites a key that a license gave; one that the caller gave is the caller's."""
        if self.license is not None:
            forget(key)

    def licensed_key(self, header: Header) -> bytes:
        """Returns the content key that licenses and the vendor's registry know: a derived model's is its parent's.

        Raises:
            LicensingError: the license does not unlock it here, or the key is not one.
        """
        if self.license is None:
            assert self.crypt_key is not None
            return read_content_key(self.crypt_key)
        named = header.parent or header
        unlocked = unlock(
            self.license,
            named.model_id,
            named.key_id,
            trust=self.trust,
            home=self.home,
            hardware=self.hardware,
            now=self.now,
            device=self.device,
        )
        return unlocked.content_key
