"""Importing tpm2-pytss, the binding to the TSS library that talks to TPMs."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from licensing.errors import TpmLibraryMissingError

__all__ = ["tpm2_pytss"]


def tpm2_pytss() -> Any:
    """Returns the module, imported on the first call.

    Raises:
        TpmLibraryMissingError: it is not installed, or not for this machine.
    """
    # The TSS writes its own account of errors to standard error, once it is loaded, unless this says otherwise.
    os.environ.setdefault("TSS2_LOG", "all+none")
    try:
        with _own_symbols_first():
            import tpm2_pytss as module
    except (ImportError, NotImplementedError) as cause:
        raise TpmLibraryMissingError("the package tpm2-pytss, which talks to TPMs, is not installed") from cause
    return module


@contextlib.contextmanager
def _own_symbols_first() -> Iterator[None]:
    """Lets the libraries that are loaded meanwhile find functions in what they were linked with, before all others.

    TensorFlow offers the functions of its BoringSSL to every library that is loaded after it, under the names of
    OpenSSL's. The TSS, which needs those of OpenSSL, would call them, and crash.
    """
    before = sys.getdlopenflags()
    sys.setdlopenflags(before | getattr(os, "RTLD_DEEPBIND", 0))
    try:
        yield
    finally:
        sys.setdlopenflags(before)
