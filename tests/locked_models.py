"""Locked models for tests: filled with a known pattern, so that a test can tell whether plaintext came out."""

import os
from pathlib import Path

from cryptors.reader import LockedModel, read_header
from cryptors.source import ModelSource, scan_source
from cryptors.stream import Geometry, Segment
from cryptors.writer import EncryptOptions, write_locked_model
from licensing.issue import ModelKey
from tests.lock_scene import NOW

__all__ = ["PATTERN", "SEGMENT_COUNT", "lock_pattern", "payload_offset", "read_whole", "segments"]

PATTERN = b"plaintext weight"
SEGMENT_COUNT = 3


def lock_pattern(locked: Path, model: ModelKey, size: int = 2_200_000) -> Path:
    """Writes a locked model of one file that repeats PATTERN; with the default size, in SEGMENT_COUNT segments."""
    plain = locked.with_name(f"{locked.name}.plain")
    plain.write_bytes((PATTERN * (size // len(PATTERN) + 1))[:size])
    options = EncryptOptions(model_id=model.model_id, name=model.name, now=NOW)
    write_locked_model(ModelSource(scan_source(plain), directory=False), "torch", model.content_key, locked, options)
    plain.unlink()
    return locked


def read_whole(locked: Path, content_key: bytes) -> bytes:
    """Returns the model's one file, after the whole model was authenticated.

    Raises:
        AssertionError: reading failed, and plaintext was left in the caller's memory.
    """
    memory = bytearray(max(os.path.getsize(locked), 1))
    try:
        with LockedModel(locked, content_key) as model:
            view = memoryview(memory)[: model.file().size]
            model.file().read_all_into(view)
            model.verify_rest()
            return bytes(view)
    except BaseException:
        assert PATTERN not in memory
        raise


def payload_offset(locked: Path) -> int:
    """Returns where the payload begins in an intact locked model."""
    return read_header(locked).payload_offset


def segments(locked: Path) -> list[Segment]:
    """Returns the segments of an intact locked model."""
    geometry = Geometry(read_header(locked).plaintext_bytes)
    return [geometry.segment(number) for number in range(geometry.segment_count)]
