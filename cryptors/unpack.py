"""The vendor's way back: a locked model's plaintext, written to disk again because the vendor asks for it."""

import os
import shutil
from pathlib import Path

from cryptors.memory import PlaintextMemory
from cryptors.reader import LockedModel, ModelFile
from licensing.errors import OutputExistsError
from licensing.files import check_output, new_file, storage_error, temporary_name

__all__ = ["unpack"]

StrPath = str | os.PathLike[str]

COPY_BYTES = 16 * 1024 * 1024


def unpack(model: LockedModel, output: StrPath, replace: bool = False) -> None:
    """Writes the plaintext of a locked model as the file or the directory that it was made from.

    A file appears under its name when it is whole and authenticated. A directory is filled under a temporary name
    beside the output and renamed; a killed process leaves that temporary directory.

    Args:
        model: the open locked model.
        output: the path to write; a directory, for a model that was one, must not exist or must be empty.
        replace: whether an existing file may be replaced. Directories are never replaced.

    Raises:
        OutputExistsError, StorageError: the output could not be written.
        ModelDamagedError: the model is not authentic; nothing appears under the output's name.
    """
    target = Path(output)
    if not model.index.directory:
        check_output(target, replace)
        _write(model.file(), target, replace)
        return
    if os.path.isfile(target) or (os.path.isdir(target) and any(target.iterdir())):
        raise OutputExistsError(f"the output {str(target)!r} exists already", "name a directory that does not exist")
    temporary = temporary_name(target)
    try:
        temporary.mkdir(mode=0o700)
        for file in model.index.files:
            location = temporary / file.path
            location.parent.mkdir(parents=True, exist_ok=True)
            _write(model.file(file.path), location, replace=False)
        model.verify_rest()
        temporary.rename(target)
    except OSError as cause:
        raise storage_error(target, cause) from cause
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(file: ModelFile, target: Path, replace: bool) -> None:
    with new_file(target, mode=0o600, replace=replace) as descriptor, PlaintextMemory(COPY_BYTES) as memory:
        while count := file.readinto(memory.view):
            part = memory.view[:count]
            while part:
                part = part[os.write(descriptor, part) :]
