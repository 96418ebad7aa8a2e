"""Reading a locked model: any part of any file, decrypted straight into the caller's memory.

docs/spec/container.md, section "Reading". Nothing is released before its segment's tag has verified. `verify_rest`
authenticates whatever a framework did not ask for, so that a load that succeeds has seen the whole model intact.
"""

import io
import os
import stat
import threading
import traceback
from collections import OrderedDict
from types import TracebackType

from cryptors.errors import KeyMismatchError, ModelDamagedError, ModelMalformedError
from cryptors.header import PREFIX_BYTES, Header, header_length
from cryptors.index import LENGTH_BYTES, MAX_INDEX_BYTES, Index, IndexedFile
from cryptors.memory import PlaintextMemory, wipe
from cryptors.parallel import Progress, default_threads, for_each_batch
from cryptors.stream import SEGMENT_BYTES, STREAM_HEADER_BYTES, Geometry, Segment, SegmentCipher
from licensing.content_key import key_id
from licensing.errors import FileAccessError
from licensing.files import unreadable

__all__ = ["LockedModel", "ModelFile", "read_header"]

StrPath = str | os.PathLike[str]

CACHED_SEGMENTS = 4
"""Segments kept for small reads that follow each other, such as those of a zip directory."""


def read_header(path: StrPath) -> Header:
    """Reads what a locked model says of itself; no key is needed, and nothing is authenticated.

    Raises:
        FileAccessError: the file cannot be read.
        ModelMalformedError: it is not a locked model.
        ModelDamagedError: its length is not what its header says.
    """
    descriptor = _open(path)
    try:
        return _read_header(descriptor, path)
    finally:
        os.close(descriptor)


class LockedModel:
    """A locked model that is open for reading with its content key.

    Args:
        path: the file.
        content_key: 32 bytes.
        threads: how many threads decrypt; by default, one for each processor that the process may use.
        progress: called with the bytes authenticated so far and the bytes in all.

    Attributes:
        header: what the file says of itself, authenticated.
        index: the files that it holds.
        failure: why reading failed, if it did: a framework that reads through us may hide the reason behind an
            error of its own.
        detached: whether the model stays open for later reads, and so is not read as a whole.

    Raises:
        FileAccessError: the file cannot be read.
        ModelMalformedError: it is not a locked model.
        KeyMismatchError: the key is not the one that the header names.
        ModelDamagedError: it was changed since it was made.
    """

    def __init__(
        self, path: StrPath, content_key: bytes, threads: int | None = None, progress: Progress | None = None
    ) -> None:
        self._descriptor = _open(path)
        self.failure: BaseException | None = None
        self.detached = False
        self._cache: OrderedDict[int, PlaintextMemory] = OrderedDict()
        self._scratch = threading.local()
        self._lock = threading.Lock()
        try:
            self.header = _read_header(self._descriptor, path)
            if key_id(content_key) != self.header.key_id:
                raise KeyMismatchError("the content key is not the one that this model was encrypted with")
            self._geometry = Geometry(self.header.plaintext_bytes)
            self._threads = threads or default_threads()
            self._progress = progress
            self._verified = bytearray(self._geometry.segment_count)
            self._verified_bytes = 0
            self._cipher = SegmentCipher(content_key, self.header.encoded, self._read_stream(0, STREAM_HEADER_BYTES))
            self.index = self._read_index()
            self._entries = {entry.path: entry for entry in self.index.files}
        except BaseException:
            self.close()
            raise

    def file(self, path: str | None = None) -> "ModelFile":
        """Returns one file of the model to read from; without a path, the only one or the entry."""
        if path is None:
            path = self.index.entry or self.index.files[0].path
        if path not in self._entries:
            raise ModelMalformedError(f"the locked model holds no file {path!r}")
        return ModelFile(self, self._entries[path])

    def read_into(self, offset: int, target: memoryview) -> None:
        """Decrypts the plaintext at `offset` into memory, on several threads where that is worth it.

        Raises:
            ModelDamagedError: a segment does not verify; the memory is wiped.
        """
        end = offset + len(target)
        numbers = self._geometry.segments_of(offset, end)
        try:
            whole = self._read_edges(numbers, offset, target)
            for_each_batch(
                whole, lambda batch: self._open_batch(batch, offset, target), self._threads, self._report_progress
            )
        except BaseException as cause:
            wipe(target)
            self.failure = cause
            raise

    def read_segments(self, numbers: range, target: memoryview) -> None:
        """Decrypts whole segments in this thread, past the cache: others may read at the same time.

        Raises:
            ModelDamagedError: a segment does not verify; the memory is wiped.
        """
        try:
            self._open_batch(numbers, self._geometry.segment(numbers.start).plaintext_offset, target)
        except BaseException as cause:
            wipe(target)
            self.failure = cause
            raise

    def verify_rest(self) -> None:
        """Authenticates every segment that has not been read yet.

        Raises:
            ModelDamagedError: one of them does not verify.
        """
        for number in range(self._geometry.segment_count):
            if not self._verified[number]:
                self._segment_plaintext(number)

    def detach(self) -> None:
        """Leaves the model open behind the `with` block that opened it, unless that fails: somebody else closes it."""
        self.detached = True

    def close(self) -> None:
        """Closes the file and wipes what is left of the plaintext here."""
        while self._cache:
            self._cache.popitem()[1].close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "LockedModel":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or not self.detached:
            self.close()

    def _read_index(self) -> Index:
        beginning = self._bytes(0, LENGTH_BYTES)
        length = int.from_bytes(beginning, "big")
        if not 2 <= length <= min(MAX_INDEX_BYTES, self.header.plaintext_bytes - LENGTH_BYTES):
            raise ModelMalformedError("the locked model's index has an impossible length")
        index = Index.parse(self._bytes(LENGTH_BYTES, length), self.header.plaintext_bytes)
        if (index.content_bytes, len(index.files)) != (self.header.content_bytes, self.header.files):
            raise ModelMalformedError("the locked model's header does not describe its content")
        return index

    def _bytes(self, offset: int, length: int) -> bytes:
        data = bytearray(min(length, self.header.plaintext_bytes - offset))
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def _read_edges(self, numbers: range, offset: int, target: memoryview) -> range:
        """Reads the segments that are only partly wanted, and returns the others."""
        whole = numbers
        for number in {*numbers[:1], *numbers[-1:]}:
            segment = self._geometry.segment(number)
            start = max(offset, segment.plaintext_offset)
            end = min(offset + len(target), segment.plaintext_offset + segment.plaintext_bytes)
            if end - start == segment.plaintext_bytes and number not in self._cache:
                continue
            within = start - segment.plaintext_offset
            target[start - offset : end - offset] = self._segment_plaintext(number)[within : within + end - start]
            whole = range(whole.start + 1, whole.stop) if number == whole.start else range(whole.start, whole.stop - 1)
        return whole

    def _open_batch(self, numbers: range, offset: int, target: memoryview) -> None:
        for segment in map(self._geometry.segment, numbers):
            start = segment.plaintext_offset - offset
            self._open_segment(segment, target[start : start + segment.plaintext_bytes])
        self._mark_verified(numbers)

    def _segment_plaintext(self, number: int) -> memoryview:
        """Returns a segment's plaintext from the cache; the memory is good until the next call."""
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number].view
        segment = self._geometry.segment(number)
        memory = PlaintextMemory(segment.plaintext_bytes)
        try:
            self._open_segment(segment, memory.view)
        except BaseException:
            memory.close()
            raise
        self._cache[number] = memory
        if len(self._cache) > CACHED_SEGMENTS:
            self._cache.popitem(last=False)[1].close()
        self._mark_verified(range(number, number + 1))
        self._report_progress(1)
        return memory.view

    def _open_segment(self, segment: Segment, out: memoryview) -> None:
        scratch = getattr(self._scratch, "view", None)
        if scratch is None:
            scratch = self._scratch.view = memoryview(bytearray(SEGMENT_BYTES))
        ciphertext = scratch[: segment.ciphertext_bytes]
        self._read_exactly(segment.ciphertext_offset, ciphertext)
        self._cipher.open(segment, ciphertext, out)

    def _read_stream(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self._read_exactly(offset, memoryview(data))
        return bytes(data)

    def _read_exactly(self, offset: int, target: memoryview) -> None:
        """Reads ciphertext with positional reads; not through a mapping, which a shrinking file would crash."""
        position = self.header.payload_offset + offset
        while target:
            try:
                count = os.preadv(self._descriptor, [target], position)
            except OSError as cause:
                raise FileAccessError(
                    f"the locked model cannot be read: {(cause.strerror or '').lower()}", reason="file_unreadable"
                ) from cause
            if count == 0:
                raise ModelDamagedError("the locked model became shorter while it was read")
            target, position = target[count:], position + count

    def _mark_verified(self, numbers: range) -> None:
        with self._lock:
            for number in numbers:
                if not self._verified[number]:
                    self._verified[number] = 1
                    self._verified_bytes += self._geometry.segment(number).plaintext_bytes

    def _report_progress(self, segments: int) -> None:
        """Tells the caller how far reading is, when segments have just been opened; in the caller's thread."""
        if self._progress is not None and segments:
            self._progress(self._verified_bytes, self.header.plaintext_bytes)


class ModelFile(io.RawIOBase):
    """One file of a locked model, as a readable, seekable file that decrypts what is read from it."""

    def __init__(self, model: LockedModel, entry: IndexedFile) -> None:
        self._model = model
        self._entry = entry
        self._position = 0

    @property
    def path(self) -> str:
        """Its path inside the model."""
        return self._entry.path

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self._entry.size

    @property
    def threads(self) -> int:
        """How many threads decrypt."""
        return self._model._threads

    def segments_of(self, start: int, end: int) -> range:
        """Returns the numbers of the segments that hold a part of the file."""
        return self._model._geometry.segments_of(self._entry.offset + start, self._entry.offset + end)

    def segment_start(self, number: int) -> int:
        """Returns where in the file a segment begins; before zero, where it begins with something else."""
        return self._model._geometry.segment(number).plaintext_offset - self._entry.offset

    def read_segments(self, numbers: range, target: memoryview) -> None:
        """Decrypts whole segments in this thread; several threads may do so at the same time."""
        self._model.read_segments(numbers, target)

    def report_progress(self) -> None:
        """Tells the caller how far reading is, for whoever reads segments in other threads."""
        self._model._report_progress(1)

    def read_all_into(self, target: memoryview) -> None:
        """Decrypts the whole file into memory of exactly its size."""
        self._model.read_into(self._entry.offset, target)

    def read_at(self, offset: int, target: memoryview) -> None:
        """Decrypts a part of the file into memory; the part must lie inside."""
        self._model.read_into(self._entry.offset + offset, target)

    def read_all(self) -> bytes:
        """Returns the whole file as `bytes`, for frameworks that insist on it, decrypted in place."""
        buffer = io.BytesIO()
        if self.size:
            # BytesIO hands its own bytes object out when it is asked for its value, so that nothing is copied.
            buffer.seek(self.size - 1)
            buffer.write(b"\0")
            try:
                with buffer.getbuffer() as view:
                    self.read_all_into(view)
            except BaseException as error:
                # The failed calls hold parts of the view, without which the buffer can be freed: Python complains
                # on standard error about a buffer that goes before its parts.
                traceback.clear_frames(error.__traceback__)
                raise
        return buffer.getvalue()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        count = max(0, min(len(target), self.size - self._position))
        if count:
            self._model.read_into(self._entry.offset + self._position, target[:count])
            self._position += count
        return count


def _open(path: StrPath) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as cause:
        raise unreadable(path, "locked model", cause) from cause
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileAccessError(f"the locked model {os.fspath(path)!r} is not a regular file", reason="not_a_file")
    return descriptor


def _read_header(descriptor: int, path: StrPath) -> Header:
    try:
        length = header_length(os.pread(descriptor, 64, 0))
        encoded = os.pread(descriptor, length, PREFIX_BYTES)
        file_bytes = os.fstat(descriptor).st_size
    except OSError as cause:
        raise unreadable(path, "locked model", cause) from cause
    if len(encoded) != length:
        raise ModelMalformedError("the locked model's header is cut short or damaged")
    header = Header.parse(encoded)
    if file_bytes != header.file_bytes:
        how = "shorter" if file_bytes < header.file_bytes else "longer"
        raise ModelDamagedError(f"the locked model is {how} than it should be")
    return header
