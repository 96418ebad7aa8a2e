"""Locked models of which each breaks one rule of docs/spec/container.md, with the reading step that must refuse."""

from collections.abc import Iterator
from typing import Any

from tests.vectors.reference_container import LABEL, aligned, layout, make_header
from tests.vectors.reference_crypto import canonical, pseudo_random

__all__ = ["bad_containers"]

Bad = dict[str, Any]
INDEX = layout({"model.onnx": bytes(100)}, directory=False, entry=None)
SIZE = 4096 + 100
HEADER = make_header(INDEX, SIZE)
HEADER_BYTES = len(canonical(HEADER).encode())
PAYLOAD = 12 + HEADER_BYTES
FILE_BYTES = PAYLOAD + 40 + SIZE + 16


def bad_containers() -> list[Bad]:
    return [*_beginnings(), *_headers(), *_lengths(), *_ciphertexts(), *_index_lengths(), *_indexes(), *_paths()]


def _bad(name: str, step: int, reason: str, **changes: Any) -> Bad:
    """One vector; the content key is the right one unless `changes` give another."""
    return {
        "name": name,
        "step": step,
        "reason": reason,
        "content_key": pseudo_random(f"content key, {LABEL}", 32).hex(),
        "header": canonical(HEADER),
        "index": canonical(INDEX),
        "plaintext_bytes": SIZE,
        **changes,
    }


def _beginnings() -> Iterator[Bad]:
    edits: dict[str, dict[str, Any]] = {
        "an empty file": {"slices": []},
        "the magic alone": {"slices": [[0, 8]]},
        "eleven bytes": {"slices": [[0, 11]]},
        "another first byte": {"flip": 0},
        "another last byte of the magic": {"flip": 7},
        "a header of more than 65536 bytes": {"flip": 9},
    }
    for name, edit in edits.items():
        yield _bad(name, 1, "model_malformed", edit=edit)
    yield _bad("a header of one byte", 1, "model_malformed", header="1")


def _headers() -> Iterator[Bad]:
    def malformed(name: str, header: str, **more: Any) -> Bad:
        return _bad(name, 2, "model_malformed", header=header, **more)

    text = canonical(HEADER)
    yield malformed("the end inside the header", text, edit={"slices": [[0, 100]]})
    yield malformed("a header with a line break at its end", text + "\n")
    yield malformed("a header with a space", text.replace(":", ": ", 1))
    yield malformed("a header with a member twice", text.replace("{", '{"content_bytes":100,', 1))
    yield malformed("a header that is an array", f"[{text}]")
    for absent in HEADER:
        header = canonical({member: value for member, value in HEADER.items() if member != absent})
        yield malformed(f"no header member {absent}", header)
    wrong: dict[str, list[Any]] = {
        "version": [0, 2, "1"],
        "model_id": [HEADER["model_id"].upper(), "1"],
        "name": ["", "a" * 201, "a\nb"],
        "type": ["ONNX", "", "a" * 33, "onnx-2"],
        "key_id": ["0" * 31, "G" * 32],
        "plaintext_bytes": [0, -1, 4503530907893721, "4196"],
        "content_bytes": [-1, None],
        "files": [0, 65537],
        "created": ["2026-12-01", "2026-12-01T00:00:00+00:00", "2026-12-01T00:00:00.0Z"],
        "generator": [""],
        "parent": ["7b3959d8-24e1-4f26-80c3-57c084d417de", {}, {"model_id": HEADER["model_id"], "key_id": "0" * 31}],
        "crit": [[], "name", ["name", "compression"], [1]],
    }
    for member, values in wrong.items():
        for number, value in enumerate(values, start=1):
            header = canonical({**HEADER, member: value})
            yield malformed(f"the header member {member} has a wrong value, {number}", header)


def _lengths() -> Iterator[Bad]:
    edits: dict[str, dict[str, Any]] = {
        "the last byte missing": {"slices": [[0, FILE_BYTES - 1]]},
        "no payload": {"slices": [[0, PAYLOAD]]},
        "only the stream header": {"slices": [[0, PAYLOAD + 40]]},
        "a byte appended": {"append": "00"},
        "the payload twice": {"slices": [[0, FILE_BYTES], [PAYLOAD, FILE_BYTES]]},
    }
    for name, edit in edits.items():
        yield _bad(name, 3, "model_damaged", edit=edit)
    longer = canonical({**HEADER, "plaintext_bytes": SIZE + 1})
    yield _bad("a header that announces one byte more", 3, "model_damaged", header=longer)
    yield _bad("another content key", 4, "key_mismatch", content_key=bytes(32).hex())


def _ciphertexts() -> Iterator[Bad]:
    yield _bad("the length of the stream header changed", 5, "model_damaged", edit={"flip": PAYLOAD})
    places = {
        "the name in the header changed": 12 + canonical(HEADER).encode().index(b"MiniLM"),
        "the salt changed": PAYLOAD + 1,
        "the nonce prefix changed": PAYLOAD + 33,
        "the first byte of the ciphertext changed": PAYLOAD + 40,
        "the padding changed": PAYLOAD + 40 + 4000,
        "the tag changed": FILE_BYTES - 1,
    }
    for name, place in places.items():
        yield _bad(name, 6, "model_damaged", edit={"flip": place})


def _index_lengths() -> Iterator[Bad]:
    for length in (0, 1, SIZE - 3, 16 * 1024 * 1024 + 1, 2**32 - 1):
        yield _bad(f"an index of {length} bytes", 6, "model_malformed", index_length=length)
    header = canonical(make_header(INDEX, 3))
    yield _bad("a plaintext of three bytes", 6, "model_malformed", header=header, plaintext_bytes=3)


def _indexed(name: str, index: dict[str, Any], size: int | None = None, **header: Any) -> Bad:
    """A container whose index is wrong, and whose header fits it unless `header` says otherwise."""
    if size is None:
        size = index["files"][-1]["offset"] + index["files"][-1]["size"]
    text = canonical(make_header(index, size, **header))
    return _bad(name, 6, "model_malformed", header=text, index=canonical(index), plaintext_bytes=size)


def _indexes() -> Iterator[Bad]:
    [item] = INDEX["files"]
    yield _bad("an index with a space", 6, "model_malformed", index=canonical(INDEX).replace(":", ": ", 1))
    yield _bad("an index that is an array", 6, "model_malformed", index="[1]")
    yield _indexed("an unknown member in the index", {**INDEX, "links": []})
    yield _indexed("an unknown member in an item", {**INDEX, "files": [{**item, "mode": 420}]})
    yield _indexed("an unknown layout", {**INDEX, "layout": "archive"})
    yield _indexed("no layout", {"files": [item]})
    yield _indexed("an entry that is no file", {**INDEX, "entry": "other.onnx"})
    yield _indexed("an offset of text", {**INDEX, "files": [{**item, "offset": "4096"}]}, SIZE)
    for offset in (0, 4095, 4097, 8192):
        yield _indexed(f"the first file at {offset}", {**INDEX, "files": [{**item, "offset": offset}]})
    yield _indexed("a plaintext that goes on behind the last file", INDEX, SIZE + 1)
    yield _indexed("a plaintext that ends in the last file", INDEX, SIZE - 1)
    yield _indexed("no files", {**INDEX, "files": []}, SIZE, files=1)
    yield _indexed("another number of files in the header", INDEX, files=2)
    yield _indexed("another sum of sizes in the header", INDEX, content_bytes=101)
    two = layout({"a": bytes(5000), "b": b"1"}, directory=True, entry=None)
    first, second = two["files"]
    yield _indexed("two files in the layout of one", {**two, "layout": "file"})
    yield _indexed("a gap between two files", {**two, "files": [first, {**second, "offset": second["offset"] + 4096}]})
    yield _indexed(
        "two files that overlap", {**two, "files": [first, {**second, "offset": second["offset"] - 4096}]}, 12288
    )
    swapped = [{**first, "path": "b"}, {**second, "path": "a"}]
    yield _indexed("files that are not sorted", {**two, "files": swapped})


def _paths() -> Iterator[Bad]:
    wrong = ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "../a", "a\\b", "a\x00b", "a\nb", "a\x7fb", "a" * 1025]
    wrong.append("ß" * 513)
    for number, path in enumerate(wrong, start=1):
        yield _indexed(f"a path that is not allowed, {number}", _directory(path))
    yield _indexed("a path twice", _directory("a", "a"))
    yield _indexed("a file that is a directory too", _directory("a", "a.b", "a/b"))


def _directory(*paths: str) -> dict[str, Any]:
    """An index of files of one byte each, in the order given."""
    items = [{"path": path, "offset": 4096 * number, "size": 1} for number, path in enumerate(paths, start=1)]
    assert aligned(4 + len(canonical(items)) + 100) == 4096
    return {"layout": "directory", "files": items}
