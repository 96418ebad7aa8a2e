"""Where a cryptor's content key comes from: given by the vendor, or unlocked with a license."""

import os
from dataclasses import dataclass, field
from datetime import datetime

from cryptors.header import Header
from cryptors.reader import read_header
from licensing.content_key import read_content_key
from licensing.errors import UsageError
from licensing.hardware import Hardware
from licensing.key_derivation import derived_content_key
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
    """

    crypt_key: bytes | StrPath | None = field(default=None, repr=False)
    license: StrPath | None = None
    trust: StrPath | None = None
    home: StrPath | None = None
    hardware: Hardware | None = None
    now: datetime | None = None

    def __post_init__(self) -> None:
        if (self.crypt_key is None) == (self.license is None):
            raise UsageError("give either crypt_key or license", "customers give a license, vendors a content key")

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
        return derived_content_key(key, header.parent.model_id, header.parent.key_id, header.model_id)

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
        )
        return unlocked.content_key
