"""Importing a framework on first use, with an error that says what to install; and what its other errors mean."""

import importlib
import re
from typing import Any

from cryptors.errors import FrameworkMissingError, MemoryUnavailableError
from cryptors.framework_conflicts import check_conflicts

__all__ = ["first_line", "import_framework", "out_of_memory"]

OUT_OF_MEMORY = re.compile(
    "(?i)can('t|not) allocate memory|failed to allocate memory|oom when allocating|out ?of ?memory|std::bad_alloc"
)
"""How PyTorch, the C library, ONNX Runtime, TensorFlow, GPU runtimes and the C++ library say it, in this order."""


def import_framework(module: str, extra: str) -> Any:
    """Returns a framework's module.

    Args:
        module: what to import.
        extra: the extra of this distribution that installs it.

    Raises:
        FrameworkMissingError: it is not installed, or does not import.
        FrameworkConflictError: it would crash this process.
    """
    check_conflicts(module)
    install = f"install it with: pip install 'weightlock[{extra}]'"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as cause:
        missing = (cause.name or module).partition(".")[0]
        raise FrameworkMissingError(f"this model needs {missing}, which is not installed", install) from cause
    except Exception as cause:  # A broken installation can raise anything, from OSError to AttributeError.
        raise FrameworkMissingError(f"{module} is installed, but does not import: {cause}", install) from cause


def first_line(cause: BaseException) -> str:
    """Returns what a framework's error says, as far as it fits into a sentence of ours."""
    lines = str(cause).strip().splitlines()
    return lines[0][:200].rstrip(" .!") if lines else type(cause).__name__


def out_of_memory(cause: BaseException | None) -> MemoryUnavailableError | None:
    """Returns the error to raise if a framework failed for lack of memory, on the host or on a GPU."""
    if cause is not None and (isinstance(cause, MemoryError) or OUT_OF_MEMORY.search(str(cause))):
        detail = f": {first_line(cause)}" if str(cause) else ""
        return MemoryUnavailableError(f"there is not enough memory to load the model{detail}")
    return None
