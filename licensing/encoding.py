"""Encodings shared by all formats: strict base64url, length-prefixed hash inputs, UTC times.

docs/spec/license.md, section 2.
"""

import base64
import binascii
import hashlib
from datetime import datetime, timezone

__all__ = [
    "MAX_EPOCH",
    "b64url_decode",
    "b64url_encode",
    "framed",
    "framed_sha256",
    "from_epoch",
    "to_epoch",
    "utc_text",
]

MAX_EPOCH = 253402300799
"""The last second of the year 9999, beyond which dates cannot be shown."""


def b64url_encode(data: bytes) -> str:
    """Returns base64url without padding (RFC 4648, section 5; RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Decodes base64url without padding, and only its one canonical form.

    Unused bits of the last character must be zero: otherwise several texts would mean the same bytes, and a
    changed character could go unnoticed.

    Raises:
        ValueError: for any other text.
    """
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, UnicodeEncodeError) as cause:
        raise ValueError("not base64url") from cause
    if b64url_encode(data) != text:
        raise ValueError("not canonical base64url")
    return data


def framed(*parts: bytes) -> bytes:
    """Concatenates parts, each behind its length as a 64-bit big-endian integer.

    Two different lists of parts never give the same bytes, so hashes of them can be compared safely.
    """
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def framed_sha256(*parts: bytes) -> bytes:
    """Returns SHA-256 (FIPS 180-4) of the framed parts."""
    return hashlib.sha256(framed(*parts)).digest()


def to_epoch(moment: datetime) -> int:
    """Returns whole seconds since 1970 in UTC; the moment must carry its time zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return int(moment.timestamp())


def from_epoch(seconds: int) -> datetime:
    """Returns the moment in UTC."""
    return datetime.fromtimestamp(seconds, tz=timezone.utc)


def utc_text(moment: datetime) -> str:
    """Returns the moment in UTC as RFC 3339 writes it, to the second."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
