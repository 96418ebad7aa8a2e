"""For models that need a GPU to run: the digests of their files, as plaintext and after the way through the lock."""

from hashlib import sha256
from pathlib import Path

from cryptors.reader import LockedModel
from cryptors.unpack import unpack
from tests.real_models.kind import Kind

__all__ = ["digests", "unpacked_digests"]


def digests(path: Path) -> list[str]:
    """Returns the SHA-256 of a file, or of each file in a directory, by their names."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [sha256(file.read_bytes()).hexdigest() for file in files]


def unpacked_digests(kind: Kind, locked: Path, content_key: bytes) -> list[str]:
    """Unpacks a locked model as `weightlock decrypt` does: the cryptor itself gives no less than what runs on a GPU."""
    output = locked.with_suffix(".unpacked")
    with LockedModel(locked, content_key) as model:
        unpack(model, output)
    return digests(output)
