"""Writing a locked model: segments sealed on several threads, each written to its own place.

docs/spec/container.md, section "Writing". The file gets its name last: an interrupted run leaves nothing.
"""

import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from cryptors.errors import ModelSourceError
from cryptors.header import Header, Parent
from cryptors.memory import PlaintextMemory
from cryptors.parallel import Progress, default_threads, for_each_batch
from cryptors.source import ModelSource
from cryptors.stream import MAX_PLAINTEXT_BYTES, SEGMENT_BYTES, Geometry, SegmentCipher, new_stream_header
from licensing.content_key import key_id
from licensing.encoding import utc_text
from licensing.files import new_file
from licensing.version import __version__

__all__ = ["EncryptOptions", "write_locked_model"]

StrPath = str | os.PathLike[str]


def _no_hook(header: Header) -> None:
    """Does nothing before the file gets its name."""


@dataclass(frozen=True)
class EncryptOptions:
    """How to encrypt.

    Attributes:
        model_id: the model's id, a lower-case UUID; by default a new one.
        name: what people call the model; by default the name of its file or directory.
        replace: whether an existing output may be replaced.
        threads: how many threads encrypt; by default, one for each processor that the process may use.
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
    """
    header = _header(source, model_type, content_key, options)
    geometry = Geometry(header.plaintext_bytes)
    stream_header = new_stream_header()
    cipher = SegmentCipher(content_key, header.encoded, stream_header)
    done = 0

    def report(segments: int) -> None:
        nonlocal done
        done = min(header.plaintext_bytes, done + segments * SEGMENT_BYTES)
        if options.progress is not None:
            options.progress(done, header.plaintext_bytes)

    with new_file(output, replace=options.replace) as descriptor:
        _write_all(descriptor, memoryview(header.prefix() + stream_header), 0)
        sealer = _Sealer(source, cipher, geometry, descriptor, header.payload_offset)
        threads = options.threads or default_threads()
        try:
            for_each_batch(range(geometry.segment_count), sealer.seal_batch, threads, report)
        finally:
            sealer.close()
        source.check_unchanged()
        os.fsync(descriptor)
        options.before_publish(header)
    return header


class _Sealer:
    """Seals batches of segments; each thread keeps one buffer for plaintext and one for ciphertext."""

    def __init__(
        self, source: ModelSource, cipher: SegmentCipher, geometry: Geometry, descriptor: int, payload_offset: int
    ) -> None:
        self._source = source
        self._cipher = cipher
        self._geometry = geometry
        self._descriptor = descriptor
        self._payload_offset = payload_offset
        self._buffers = threading.local()
        self._plaintexts: list[PlaintextMemory] = []

    def seal_batch(self, numbers: range) -> None:
        if not hasattr(self._buffers, "plaintext"):
            memory = PlaintextMemory(SEGMENT_BYTES)
            self._plaintexts.append(memory)
            self._buffers.plaintext = memory.view
            self._buffers.ciphertext = memoryview(bytearray(SEGMENT_BYTES))
        for segment in map(self._geometry.segment, numbers):
            plaintext = self._buffers.plaintext[: segment.plaintext_bytes]
            ciphertext = self._buffers.ciphertext[: segment.ciphertext_bytes]
            self._source.read_into(segment.plaintext_offset, plaintext)
            self._cipher.seal(segment, plaintext, ciphertext)
            _write_all(self._descriptor, ciphertext, self._payload_offset + segment.ciphertext_offset)

    def close(self) -> None:
        for memory in self._plaintexts:
            memory.close()


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


def _write_all(descriptor: int, data: memoryview, position: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, position)
        data, position = data[count:], position + count
