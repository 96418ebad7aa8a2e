"""A directory for frameworks that take only paths to several files: links to memory files, and nothing else on disk."""

import errno
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from cryptors.errors import ModelTypeError
from cryptors.memory import PlaintextFile
from cryptors.reader import LockedModel
from licensing.files import storage_error

__all__ = ["PlaintextFolder"]


class PlaintextFolder:
    """A private temporary directory whose links lead to sealed memory files with a model's plaintext.

    The file system sees the links' names and that they lead to descriptors of this process. When the context ends,
    links, directory and descriptors are gone; what a framework has mapped by then stays until it lets go of it.

    Args:
        model: the open locked model.
        names: the path of each link, relative to the directory, by the path of the file in the model; by default, all
            files of the model under their own paths.

    Attributes:
        path: the directory.

    Raises:
        ModelTypeError: the model has more files than the process may open.
        StorageError: there is no temporary directory to write to.
        ModelDamagedError: a file does not verify.
    """

    def __init__(self, model: LockedModel, names: Mapping[str, str] | None = None) -> None:
        self._memories: list[PlaintextFile] = []
        try:
            self.path = Path(tempfile.mkdtemp(prefix="weightlock-"))
        except OSError as cause:
            raise storage_error(Path(tempfile.gettempdir()), cause) from cause
        try:
            for path, name in (names or {file.path: file.path for file in model.index.files}).items():
                self._add(model, path, self.path / name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives the memory back and removes the directory, in this order: removing needs descriptors as well."""
        while self._memories:
            self._memories.pop().close()
        shutil.rmtree(self.path, ignore_errors=True)

    def _add(self, model: LockedModel, path: str, link: Path) -> None:
        file = model.file(path)
        try:
            memory = PlaintextFile(file.size)
            self._memories.append(memory)
            link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            link.symlink_to(memory.path)
        except OSError as cause:
            if cause.errno in (errno.EMFILE, errno.ENFILE):
                raise ModelTypeError(
                    f"the model has {len(model.index.files)} files, more than this process may open",
                    "raise the limit with: ulimit -n",
                    reason="model_too_large",
                ) from cause
            raise storage_error(link, cause) from cause
        file.read_all_into(memory.view)
        memory.seal()

    def __enter__(self) -> "PlaintextFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
