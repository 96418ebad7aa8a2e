"""Reading a locked model: any part of any file, decrypted straight into the caller's memory.

docs/spec/container.md, section "Reading". Nothing is released before its segment's tag has verified. `verify_rest`
authenticates whatever a framework did not ask for, so that a load that succeeds has seen the whole model intact.
"""

import contextlib
import io
import os
import threading
import traceback
from collections.abc import Sequence
from types import TracebackType

from cryptors.ciphertext import CiphertextFile
from cryptors.errors import KeyMismatchError, MemoryUnavailableError, ModelDamagedError, ModelMalformedError
from cryptors.header import PREFIX_BYTES, Header, header_length
from cryptors.index import LENGTH_BYTES, MAX_INDEX_BYTES, Index, IndexedFile
from cryptors.memory import PlaintextMemory, wipe
from cryptors.parallel import BATCH, Progress, default_threads, for_each_batch
from cryptors.segment_cache import SegmentCache
from cryptors.stream import SEGMENT_BYTES, STREAM_HEADER_BYTES, Geometry, Segment, SegmentCipher
from licensing.content_key import key_id
from licensing.files import unreadable

__all__ = ["LockedModel", "ModelFile", "read_header"]

StrPath = str | os.PathLike[str]

READ_BATCH = 2
"""Segments that a thread reads one after the other: few, so that storage sees one sequence rather than several."""


def read_header(path: StrPath) -> Header:
    """Reads what a locked model says of itself; no key is needed, and nothing is authenticated.

    Raises:
        FileAccessError: the file cannot be read.
        ModelMalformedError: it is not a locked model.
        ModelDamagedError: its length is not what its header says.
    """
    file = CiphertextFile(path)
    try:
        return _read_header(file.descriptor, path)
    finally:
        file.close()


class LockedModel:
    """A locked model that is open for reading with its content key.

    Args:
        path: the file.
        content_key: 32 bytes.
        threads: how many threads decrypt; by default, one for each processor that the process may use. Where the file
            is not in memory, as many more wait for storage.
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
        self._file = CiphertextFile(path)
        self.failure: BaseException | None = None
        self.detached = False
        self._cache = SegmentCache()
        self._key = contextlib.ExitStack()
        self._lock = threading.Lock()
        """Guards what has been verified: several threads read at the same time."""
        try:
            self.header = _read_header(self._file.descriptor, path)
            if key_id(content_key) != self.header.key_id:
                raise KeyMismatchError("the content key is not the one that this model was encrypted with")
            self._geometry = Geometry(self.header.plaintext_bytes)
            self._threads = threads or default_threads()
            self._progress = progress
            self._verified = bytearray(self._geometry.segment_count)
            self._verified_bytes = self._reported_bytes = 0
            stream_header = bytearray(STREAM_HEADER_BYTES)
            self._file.read(self.header.payload_offset, memoryview(stream_header))
            cipher = SegmentCipher(content_key, self.header.encoded, bytes(stream_header))
            self._cipher = self._key.enter_context(contextlib.closing(cipher))
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

        Several threads may call this at the same time.

        Raises:
            ModelDamagedError: a segment does not verify; what was decrypted is wiped.
            FileAccessError: storage fails; what was decrypted is wiped.
        """
        numbers = self._geometry.segments_of(offset, offset + len(target))
        begun: list[int] = []

        def read(batch: Sequence[int]) -> None:
            begun.append(batch[-1])
            self._read_batch(batch, offset, target)

        try:
            for_each_batch(
                numbers,
                read,
                self._threads_for(numbers),
                self._report_new,
                READ_BATCH,
            )
        except BaseException as cause:
            if begun:
                last = self._geometry.segment(max(begun))
                wipe(target[: last.plaintext_offset + last.plaintext_bytes - offset])
            self.failure = cause
            raise
        finally:
            if self.detached:
                self._cipher.rest()

    def read_segments(self, numbers: range, target: memoryview) -> None:
        """Decrypts whole segments in this thread, past the cache: others may read at the same time.

        Raises:
            ModelDamagedError: a segment does not verify; the memory is wiped.
        """
        try:
            start = self._geometry.segment(numbers.start).plaintext_offset
            for segment in map(self._geometry.segment, numbers):
                within = segment.plaintext_offset - start
                self._open_segment(segment, target[within : within + segment.plaintext_bytes])
        except BaseException as cause:
            wipe(target)
            self.failure = cause
            raise
        finally:
            if self.detached:
                self._cipher.rest()

    def verify_rest(self) -> None:
        """Authenticates every segment that has not been read yet.

        Raises:
            ModelDamagedError: one of them does not verify.
        """
        rest = [number for number, verified in enumerate(self._verified) if not verified]
        for_each_batch(rest, self._verify_batch, self._threads_for(rest), self._report_progress, READ_BATCH)

    def detach(self) -> None:
        """Leaves the model open behind the `with` block that opened it, unless that fails: somebody else closes it."""
        self.detached = True
        self._cipher.rest()

    def close(self) -> None:
        """Closes the file and wipes what is left of the plaintext here."""
        self._cache.close()
        self._key.close()
        self._file.close()

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

    def _threads_for(self, numbers: Sequence[int]) -> int:
        """Returns how many threads shall read segments: while some wait for storage, as many others decrypt."""
        if self._threads == 1 or len(numbers) <= BATCH:
            return self._threads
        last = self._geometry.segment(numbers[-1])
        cached = self._file.is_cached(self.header.payload_offset + last.ciphertext_offset)
        return self._threads if cached else 2 * self._threads

    def _read_batch(self, numbers: Sequence[int], offset: int, target: memoryview) -> None:
        """Decrypts what these segments hold of the plaintext that begins at `offset` and goes into `target`."""
        for segment in map(self._geometry.segment, numbers):
            start = max(0, segment.plaintext_offset - offset)
            end = min(len(target), segment.plaintext_offset - offset + segment.plaintext_bytes)
            if end - start == segment.plaintext_bytes:
                self._open_segment(segment, target[start:end])
            else:
                self._read_part(segment, offset + start - segment.plaintext_offset, target[start:end])

    def _read_part(self, segment: Segment, within: int, out: memoryview) -> None:
        """Decrypts a part of a segment, from place `within` on, and keeps the segment for what is read next."""
        if self._cache.copy(segment.number, within, out):
            return
        place = self._cache.take()
        try:
            self._open_segment(segment, place[: segment.plaintext_bytes])
        except BaseException:
            self._cache.give_back(place)
            raise
        out[:] = place[within : within + len(out)]
        self._cache.keep(segment.number, place)

    def _verify_batch(self, numbers: Sequence[int]) -> None:
        with PlaintextMemory(SEGMENT_BYTES) as memory:
            for segment in map(self._geometry.segment, numbers):
                self._open_segment(segment, memory.view[: segment.plaintext_bytes])

    def _open_segment(self, segment: Segment, out: memoryview) -> None:
        position = self.header.payload_offset + segment.ciphertext_offset
        scratch = self._file.take_scratch()
        try:
            ciphertext = scratch.at(position, segment.ciphertext_bytes)
            self._file.read(position, ciphertext)
            self._cipher.open(segment, ciphertext, out)
        finally:
            self._file.give_back(scratch)
        with self._lock:
            if not self._verified[segment.number]:
                self._verified[segment.number] = 1
                self._verified_bytes += segment.plaintext_bytes

    def _report_progress(self, segments: int) -> None:
        """Tells the caller how far reading is, in the caller's thread, when segments have just been read."""
        self._reported_bytes = self._verified_bytes
        if self._progress is not None and segments:
            self._progress(self._reported_bytes, self.header.plaintext_bytes)

    def _report_new(self, segments: int) -> None:
        """Does so unless the segments came from the cache."""
        if self._verified_bytes != self._reported_bytes:
            self._report_progress(segments)


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
        """How many threads shall decrypt it."""
        return self._model._threads_for(self.segments_of(0, self.size))

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
            try:
                buffer.write(b"\0")
            except MemoryError as cause:
                raise MemoryUnavailableError(f"there is not enough memory: {self.size} bytes were asked for") from cause
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
