"""Writing a locked model: batches of segments, sealed on several threads and written each to its own place.

docs/spec/container.md, section "Writing". The file gets its name last: an interrupted run leaves nothing. Each thread
takes eight megabytes of memory, however large the model is.
"""

import os
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone

from cryptors.direct_writer import BLOCK_BYTES, DirectWriter
from cryptors.disk_space import reserve_space
from cryptors.errors import ModelSourceError
from cryptors.header import Header, Parent
from cryptors.memory import PlaintextMemory
from cryptors.parallel import BATCH, Progress, default_threads, for_each_batch
from cryptors.source import ModelSource
from cryptors.stream import (
    MAX_PLAINTEXT_BYTES,
    SEGMENT_BYTES,
    Geometry,
    SegmentCipher,
    new_stream_header,
)
from licensing.content_key import key_id
from licensing.encoding import utc_text
from licensing.files import new_file
from licensing.version import __version__

__all__ = ["EncryptOptions", "write_locked_model"]

StrPath = str | os.PathLike[str]

LARGE_BYTES = 64 * SEGMENT_BYTES
"""Smaller files go through the page cache, where whoever loads them next finds them."""

WAITING_THREADS = 4
"""How many more threads than processors there are: each waits for the disk at times."""


def _no_hook(header: Header) -> None:
    """Does nothing before the file gets its name."""


@dataclass(frozen=True)
class EncryptOptions:
    """How to encrypt.

    Attributes:
        model_id: the model's id, a lower-case UUID; by default a new one.
        name: what people call the model; by default the name of its file or directory.
        replace: whether an existing output may be replaced.
        threads: how many threads encrypt; by default, four more than there are processors that the process may use.
        progress: called with the bytes done and the bytes in all.
        before_publish: called with the header when the file is whole and flushed and has no name yet; the vendor's
            home records the content key there, so that no locked model exists whose key is not recorded.
        now: the time that the header carries; by default the system's clock.
        parent: the locked model that this one is made from; see `lock_derived`.
    """

    model_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    name: str | None = None
    replace: bool = False
    threads: int | None = None
    progress: Progress | None = None
    before_publish: Callable[[Header], None] = _no_hook
    now: datetime | None = None
    parent: Parent | None = None


def write_locked_model(
    source: ModelSource, model_type: str, content_key: bytes, output: StrPath, options: EncryptOptions
) -> Header:
    """Encrypts a model.

    Args:
        source: the plaintext.
        model_type: the header's type, such as "onnx".
        content_key: 32 bytes.
        output: the locked model's path.
        options: see `EncryptOptions`.

    Returns:
        The header that was written.

    Raises:
        ModelSourceError: the source changed meanwhile, or its name cannot be used.
        OutputExistsError, StorageError: the output could not be written; nothing is left behind.
        MemoryUnavailableError: there is not enough memory for the threads.
    """
    header = _header(source, model_type, content_key, options)
    geometry = Geometry(header.plaintext_bytes)
    stream_header = new_stream_header()
    done = 0

    def report(segments: int) -> None:
        nonlocal done
        done = min(header.plaintext_bytes, done + segments * SEGMENT_BYTES)
        if options.progress is not None:
            options.progress(done, header.plaintext_bytes)

    threads = options.threads or default_threads() + WAITING_THREADS
    is_large = header.file_bytes >= LARGE_BYTES
    with new_file(output, replace=options.replace) as descriptor:
        if is_large:
            reserve_space(descriptor, header.file_bytes)
        with (
            closing(SegmentCipher(content_key, header.encoded, stream_header)) as cipher,
            closing(DirectWriter(descriptor, direct=is_large)) as writer,
            closing(_Sealer(source, cipher, geometry, writer, header.payload_offset)) as sealer,
        ):
            writer.write(memoryview(header.prefix() + stream_header), 0)
            for_each_batch(range(geometry.segment_count), sealer.seal_batch, threads, report)
            writer.finish()
        source.check_unchanged()
        os.fsync(descriptor)
        options.before_publish(header)
    return header


class _Sealer:
    """Seals batches of segments; each thread keeps memory for the plaintext and the ciphertext of one."""

    def __init__(
        self, source: ModelSource, cipher: SegmentCipher, geometry: Geometry, writer: DirectWriter, payload_offset: int
    ) -> None:
        self._source = source
        self._cipher = cipher
        self._geometry = geometry
        self._writer = writer
        self._payload_offset = payload_offset
        self._batch_bytes = min(BATCH, geometry.segment_count) * SEGMENT_BYTES
        self._threads = threading.local()
        self._memories: list[PlaintextMemory] = []

    def seal_batch(self, numbers: Sequence[int]) -> None:
        """Reads the plaintext of segments that follow each other, seals them, and writes them, all at once."""
        plaintexts, ciphertexts = self._views()
        segments = [self._geometry.segment(number) for number in numbers]
        plaintext_bytes = sum(segment.plaintext_bytes for segment in segments)
        self._source.read_into(segments[0].plaintext_offset, plaintexts[:plaintext_bytes])
        position = self._payload_offset + segments[0].ciphertext_offset
        # As far behind the beginning of a block as in the file, which direct writes want.
        begin = end = position % BLOCK_BYTES
        for segment in segments:
            start = segment.plaintext_offset - segments[0].plaintext_offset
            plaintext = plaintexts[start : start + segment.plaintext_bytes]
            self._cipher.seal(segment, plaintext, ciphertexts[end : end + segment.ciphertext_bytes])
            end += segment.ciphertext_bytes
        self._writer.write(ciphertexts[begin:end], position)

    def close(self) -> None:
        for memory in self._memories:
            memory.close()

    def _views(self) -> tuple[memoryview, memoryview]:
        """Returns this thread's memory for plaintext, and for ciphertext."""
        if not hasattr(self._threads, "views"):
            memories = PlaintextMemory(self._batch_bytes), PlaintextMemory(self._batch_bytes + BLOCK_BYTES)
            self._memories += memories
            self._threads.views = tuple(memory.view for memory in memories)
        views: tuple[memoryview, memoryview] = self._threads.views
        return views


def _header(source: ModelSource, model_type: str, content_key: bytes, options: EncryptOptions) -> Header:
    index = source.index
    if index.plaintext_bytes > MAX_PLAINTEXT_BYTES:
        raise ModelSourceError("the model is too large for one container")
    name = options.name if options.name is not None else (index.entry or index.files[0].path)
    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise ModelSourceError("the model's name must be printable text of 1 to 200 characters", "give it a --name")
    return Header(
        model_id=options.model_id,
        name=name,
        model_type=model_type,
        key_id=key_id(content_key),
        plaintext_bytes=index.plaintext_bytes,
        content_bytes=index.content_bytes,
        files=len(index.files),
        created=utc_text(options.now or datetime.now(timezone.utc)),
        generator=f"weightlock {__version__}",
        parent=options.parent,
    ).encode()
