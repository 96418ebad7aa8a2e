"""GGUF models in several files: which belong together, told from their names, as llama.cpp does it."""

import re
from collections.abc import Iterable

__all__ = ["first_parts", "parts_of"]

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)


def parts_of(name: str) -> list[str]:
    """Returns the names of all files of the model that a file belongs to, in their order; often itself alone."""
    match = _PART.fullmatch(name)
    if match is None or int(match[3]) == 0:
        return [name]
    return [f"{match[1]}-{number:05}-of-{match[3]}.gguf" for number in range(1, int(match[3]) + 1)]


def first_parts(names: Iterable[str]) -> list[str]:
    """Returns the first file of each model among these names."""
    return sorted({_first_part(name) for name in names if name.endswith(".gguf")})


def _first_part(name: str) -> str:
    # Without naming the others: a directory can hold many files of which each claims to be one of 99999.
    match = _PART.fullmatch(name)
    return name if match is None or int(match[3]) == 0 else f"{match[1]}-00001-of-{match[3]}.gguf"
