"""One model of one kind, as plaintext and locked, with everything that a test needs to know of it."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptors import Cryptor, CryptorFactory, Header
from licensing.content_key import new_content_key
from tests.contract.case import Arrays, Case
from tests.licensed_box import LicensedBox

__all__ = ["Subject", "array_digests", "digests", "lock"]


@dataclass(frozen=True)
class Subject:
    """A model of one kind and one width, as plaintext and locked.

    Attributes:
        plaintext: what was given to `encrypt`.
        before, after: the digests of all plaintext files, before and after they were locked.
        locked, header, content_key: what came of it.
        license: for the licensed box.
        box: the licensed box.
    """

    case: Case
    width: int
    plaintext: Path
    before: dict[str, str]
    after: dict[str, str]
    locked: Path
    header: Header
    content_key: bytes
    license: Path
    box: LicensedBox

    @property
    def cryptor(self) -> Cryptor:
        """The cryptor of the model's type."""
        return CryptorFactory.instance(self.case.model_type)

    @cached_property
    def expected(self) -> Arrays:
        """What the plaintext gives."""
        return self.case.arrays(self.case.read(self.plaintext))

    def load(self, locked: Path | str | None = None, **changes: Any) -> Any:
        """Loads the model, or another locked model of its kind, with the content key unless a test says otherwise."""
        arguments = {"crypt_key": self.content_key, **self.case.options, **changes}
        return self.cryptor.load(locked or self.locked, **arguments)


def digests(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file below a folder."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def array_digests(arrays: Arrays) -> dict[str, str]:
    """Returns the SHA-256 of every array, with its type and shape."""
    described = {name: f"{array.dtype} {array.shape} ".encode() + array.tobytes() for name, array in arrays.items()}
    return {name: hashlib.sha256(data).hexdigest() for name, data in described.items()}


def lock(case: Case, width: int, folder: Path, box: LicensedBox) -> Subject:
    """Writes a model, locks it, and licenses it."""
    (folder / "plain").mkdir()
    plaintext, locked, content_key = case.make(folder / "plain", width), folder / "model.locked", new_content_key()
    before = digests(folder / "plain")
    header = CryptorFactory.instance(case.model_type).encrypt(plaintext, content_key, locked)
    after = digests(folder / "plain")
    license = box.license(folder / "acme.lic", [(header, content_key)])
    return Subject(case, width, plaintext, before, after, locked, header, content_key, license, box)
