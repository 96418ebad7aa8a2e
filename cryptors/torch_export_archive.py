"""What is inside a `.pt2` archive, read before PyTorch loads it: pickles, operators, compiled code."""

import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

__all__ = ["ExportArchive"]

_OPERATOR = re.compile(rb'"target":\s*"torch\.ops\.([\w.]+)"')


class ExportArchive:
    """An archive that `torch.export.save` wrote, in today's layout or in that of PyTorch 2.7.

    Args:
        file: the archive, seekable.

    Raises:
        zipfile.BadZipFile: it is no archive, or names a member twice, so that two readers could see different things.
    """

    def __init__(self, file: Any) -> None:
        self._archive = zipfile.ZipFile(file)
        names = self._archive.namelist()
        # PyTorch's own reader takes names that differ only in their case for the same.
        if len({name.lower() for name in names}) != len(names):
            raise zipfile.BadZipFile("the archive holds two members of the same name")
        # Today's layout has everything in one folder, named after the file that was saved.
        self._is_old = "serialized_exported_program.json" in names
        self._names = {name if self._is_old else name.partition("/")[2]: name for name in names}

    @property
    def holds_compiled_code(self) -> bool:
        """Whether there is code that AOTInductor compiled, which PyTorch unpacks to disk in order to load it."""
        return any(name.startswith("data/aotinductor/") for name in self._names)

    def pickles(self) -> Iterator[bytes]:
        """Yields each member that PyTorch unpickles."""
        for name in sorted(self._pickle_names()):
            if name in self._names and (data := self._read(name)):
                yield data

    def operators(self) -> list[str]:
        """Returns the operators that the graphs call, each as the attributes of `torch.ops` that lead to it."""
        graphs = [name for name in self._names if name.startswith("models/") or name.endswith("_program.json")]
        return sorted({found.decode() for name in graphs for found in _OPERATOR.findall(self._read(name))})

    def _pickle_names(self) -> set[str]:
        if self._is_old:
            return {
                name for name in self._names if re.match(r"serialized_(state_dict|constants|example_inputs)\.", name)
            }
        # PyTorch 2.8 pickled all weights at once; since then it pickles the sample inputs, and what is no plain tensor.
        names = {name for name in self._names if re.match(r"data/(weights|constants|sample_inputs)/.*\.pt$", name)}
        for config in self._names:
            if match := re.match(r"(data/(?:weights|constants)/).*_config\.json$", config):
                for payload in json.loads(self._read(config))["config"].values():
                    # Objects of C++ classes are no pickles of Python's, whatever the file says of them.
                    if payload["use_pickle"] and not payload["path_name"].startswith("custom_obj_"):
                        names.add(match[1] + payload["path_name"])
        return names

    def _read(self, name: str) -> bytes:
        return self._archive.read(self._names[name])
