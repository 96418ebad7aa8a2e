"""The trust file: the vendor's public keys as a JWK set (RFC 7517), pinned by the customer's application.

docs/spec/license.md, section 6.
"""

import os
from dataclasses import dataclass
from typing import Any

from licensing.errors import FileAccessError, TrustMalformedError, TrustMissingError, UntrustedVendorError
from licensing.files import read_bounded
from licensing.jwk import THUMBPRINT_PATTERN, PublicKey, algorithm_of, from_jwk, thumbprint, to_jwk
from licensing.strict_json import Fields, canonical, parse_object

__all__ = ["MAX_TRUST_BYTES", "TrustedKeys"]

MAX_TRUST_BYTES = 256 * 1024
MAX_KEYS = 64


@dataclass(frozen=True)
class TrustedKeys:
    """The vendor keys that a customer trusts, by thumbprint."""

    keys: dict[str, PublicKey]

    @classmethod
    def parse(cls, data: bytes) -> "TrustedKeys":
        """Parses a trust file.

        Raises:
            TrustMalformedError: it does not follow the specification.
        """
        fields = Fields(
            parse_object(data, "trust file", TrustMalformedError, MAX_TRUST_BYTES), "trust file", TrustMalformedError
        )
        keys = fields.array("keys", 1, MAX_KEYS, _read_key)
        by_thumbprint = {thumbprint(key): key for key in keys}
        if len(by_thumbprint) != len(keys):
            raise TrustMalformedError("the trust file holds the same key twice")
        return cls(by_thumbprint)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "TrustedKeys":
        """Reads a trust file.

        Raises:
            TrustMissingError: there is no such file.
            FileAccessError: it cannot be read.
            TrustMalformedError: it does not follow the specification.
        """
        try:
            data = read_bounded(path, "trust file", MAX_TRUST_BYTES)
        except FileAccessError as cause:
            if cause.reason == "file_not_found":
                raise TrustMissingError(f"there is no trust file {os.fspath(path)!r}") from cause
            raise
        return cls.parse(data)

    def to_bytes(self) -> bytes:
        """Returns the trust file in canonical form."""
        return canonical({"keys": [_key_members(key) for key in self.keys.values()]})

    def find(self, kid: str) -> PublicKey:
        """Returns the trusted key of this thumbprint.

        Raises:
            UntrustedVendorError: there is none.
        """
        try:
            return self.keys[kid]
        except KeyError as cause:
            raise UntrustedVendorError("the license is signed by a vendor key that is not in the trust file") from cause


def _key_members(key: PublicKey) -> dict[str, str]:
    return {**to_jwk(key), "kid": thumbprint(key), "alg": algorithm_of(key), "use": "sig"}


def _read_key(value: Any, what: str) -> PublicKey:
    """Reads one member of `keys`; unknown members are ignored, as RFC 7517, section 4 asks."""
    fields = Fields.of(value, what, TrustMalformedError)
    kid = fields.text("kid", 43, THUMBPRINT_PATTERN)
    try:
        key = from_jwk(value)
    except ValueError as cause:
        raise TrustMalformedError(f"the {what} cannot be used: {cause}") from cause
    if kid != thumbprint(key):
        raise TrustMalformedError(f"the {what} is damaged: its kid is not its thumbprint")
    if fields.text("alg", 10) != algorithm_of(key) or fields.text("use", 10) != "sig":
        raise TrustMalformedError(f"the {what} is not a signing key for its algorithm")
    return key
