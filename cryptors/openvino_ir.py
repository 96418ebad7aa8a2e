"""OpenVINO's models on the vendor's side: an `.xml` file that tells where in its `.bin` file each constant lies."""

import os
import re
from pathlib import Path
from typing import IO, Any
from xml.parsers import expat

from cryptors.errors import ModelSourceError
from cryptors.file_formats import BEGINNING_BYTES, is_openvino_blob, is_openvino_xml
from cryptors.source import ModelSource
from licensing.files import unreadable

__all__ = ["ir_source", "weights_path"]

MAX_XML_BYTES = 1024**3
"""No graph comes near it, and more would only keep a parser busy."""


def ir_source(model: Path, files: dict[str, Path]) -> ModelSource:
    """Returns a model to encrypt, with the `.bin` file that belongs to its `.xml` file.

    Args:
        model: an `.xml` file, a directory that holds one of an IR, or a file that OpenVINO compiled and exported.
        files: that file, or all files of the directory, by their paths inside the model.

    Raises:
        FileAccessError: a file cannot be read.
        ModelSourceError: there is not one IR, its weights are missing or too short, or its XML is not sound.
    """
    directory = os.path.isdir(model)
    if not directory and is_openvino_blob(_beginning(model)):
        return ModelSource(files, directory=False)
    entry = _single_ir(model, files) if directory else model.name
    path = weights_path(entry)
    weights = (model if directory else model.parent) / path
    needed = _weights_bytes(files[entry])
    if weights.is_file():
        if weights.stat().st_size < needed:
            raise ModelSourceError(
                f"the model's weights {path!r} are shorter than {entry!r} says",
                "they were cut short, or belong to another model",
            )
        files = {**files, path: weights}
    elif needed:
        raise ModelSourceError(f"the model's weights {path!r} are missing", f"they belong beside {entry!r}")
    return ModelSource(files, directory=directory or len(files) > 1, entry=entry)


def weights_path(graph: str) -> str:
    """Returns the path of the `.bin` file that belongs to an `.xml` file."""
    return Path(graph).with_suffix(".bin").as_posix()


def _single_ir(model: Path, files: dict[str, Path]) -> str:
    found = [path for path in files if path.endswith(".xml") and "/" not in path]
    found = [path for path in found if is_openvino_xml(_beginning(files[path]))]
    if len(found) != 1:
        raise ModelSourceError(
            f"the directory {str(model)!r} holds {len(found)} IRs", "name the .xml file instead: its .bin file is found"
        )
    return found[0]


def _beginning(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(BEGINNING_BYTES)
    except OSError as cause:
        raise unreadable(path, "model file", cause) from cause


def _weights_bytes(graph: Path) -> int:
    """Returns how long the `.bin` file of an IR must be at least: where the last of its constants ends."""
    try:
        if graph.stat().st_size > MAX_XML_BYTES:
            raise ModelSourceError(f"{str(graph)!r} is larger than any IR")
        with open(graph, "rb") as file:
            return _Constants().end(file)
    except OSError as cause:
        raise unreadable(graph, "model file", cause) from cause
    except expat.ExpatError as cause:
        raise ModelSourceError(f"{str(graph)!r} is not well-formed XML: {cause}") from cause


class _Constants:
    """Reads an IR once from its beginning to its end, and keeps nothing but which layers are open."""

    def __init__(self) -> None:
        self._open_layers: list[str] = []  # More than one where a layer has a body, as If and Loop do.
        self._end = 0

    def end(self, file: IO[bytes]) -> int:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse_document_type
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._stop
        parser.ParseFile(file)
        return self._end

    def _refuse_document_type(self, *declaration: Any) -> None:
        # Entities are declared there, and they can grow without limit.
        raise ModelSourceError("the IR declares a document type, which no IR does")

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        if element == "layer":
            self._open_layers.append(attributes.get("type", ""))
        elif element == "data" and self._open_layers[-1:] == ["Const"]:
            offset, size = attributes.get("offset", ""), attributes.get("size", "")
            if not (re.fullmatch("[0-9]{1,19}", offset) and re.fullmatch("[0-9]{1,19}", size)):
                raise ModelSourceError("a constant of the IR has no place in the weights")
            self._end = max(self._end, int(offset) + int(size))

    def _stop(self, element: str) -> None:
        if element == "layer":
            self._open_layers.pop()
