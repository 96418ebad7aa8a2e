"""Files of `torch.save`, loaded from a locked model without a second copy: by PyTorch's own unpickler.

The whole file is decrypted into one mapping, in parallel, before PyTorch sees any of it; the storages are parts of that
mapping. So objects are built under the rules of `weights_only`, and whatever they do with their data meanwhile, such as
checking indices of sparse tensors, finds the data there.
"""

import io
from typing import Any

from cryptors.memory import PlaintextMemory, wipe
from cryptors.reader import ModelFile
from cryptors.torch_archive import Archive, is_archive, load_archive

__all__ = ["load_torch_file"]

BUFFER_BYTES = 64 * 1024


def load_torch_file(torch: Any, file: ModelFile, map_location: Any, weights_only: bool) -> Any:
    """Returns what `torch.load` returns for a file of a locked model.

    Args:
        torch: the module.
        file: what `torch.save` wrote, in any of its formats.
        map_location, weights_only: as in `torch.load`.

    Raises:
        ModelDamagedError: the file does not verify.
        Exception: whatever `torch.load` raises.
    """
    if is_archive(file) and not _is_meta(torch, map_location):
        memory = PlaintextMemory(file.size)
        file.read_all_into(memory.view)
        try:
            archive = Archive(_reader_of(memory.view), file.size)
            if archive.is_native(torch):
                whole = torch.frombuffer(memory.view, dtype=torch.uint8).untyped_storage()
                parts = lambda offset, length: whole[offset : offset + length]  # noqa: E731
                return load_archive(torch, archive, parts, map_location, weights_only)
        except BaseException:
            wipe(memory.view)  # Not closed: whoever kept a part of it, such as the caller's map_location, sees zeros.
            raise
        memory.close()
    # From before PyTorch 1.6, or of another byte order: PyTorch reads the file, and what it reads is decrypted.
    file.seek(0)
    with io.BufferedReader(file, BUFFER_BYTES) as buffered:
        return torch.load(buffered, map_location=map_location, weights_only=weights_only)


def _reader_of(view: memoryview) -> Any:
    def read_at(offset: int, target: memoryview) -> None:
        target[:] = view[offset : offset + len(target)]

    return read_at


def _is_meta(torch: Any, map_location: Any) -> bool:
    """Tells whether tensors shall have no data, which PyTorch does not read then."""
    return isinstance(map_location, (str, torch.device)) and torch.device(map_location).type == "meta"
