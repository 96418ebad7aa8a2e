"""Files of `torch.save`, loaded from a locked model without a second copy: by PyTorch's own unpickler.

For the CPU, the whole file is decrypted into one mapping, in parallel, before PyTorch sees any of it; the storages are
parts of that mapping. For a GPU, each storage goes through a ring of pinned buffers into memory of the GPU when PyTorch
asks for it. Either way objects are built under the rules of `weights_only`, and whatever they do with their data in the
meantime, such as checking the indices of sparse tensors, finds the data there.
"""

import io
from typing import Any

from cryptors.device_ring import DeviceRing
from cryptors.memory import PlaintextMemory, wipe
from cryptors.reader import ModelFile
from cryptors.torch_archive import Archive, is_archive, load_archive

__all__ = ["load_to_device", "load_torch_file"]

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
    device = torch.device(map_location) if isinstance(map_location, (str, torch.device)) else None
    if is_archive(file) and (device is None or device.type != "meta"):
        archive = Archive(file.read_at, file.size)
        if archive.is_native(torch):
            if device is not None and device.type == "cuda" and torch.cuda.is_available():
                return load_to_device(torch, file, archive, device, weights_only)
            return _load_into_memory(torch, file, archive, map_location, weights_only)
    # From before PyTorch 1.6, of another byte order, or without data: PyTorch reads, and what it reads is decrypted.
    file.seek(0)
    with io.BufferedReader(file, BUFFER_BYTES) as buffered:
        return torch.load(buffered, map_location=map_location, weights_only=weights_only)


def load_to_device(torch: Any, file: ModelFile, archive: Archive, device: Any, weights_only: bool) -> Any:
    """Returns what `torch.load` returns with this device as `map_location`; the host holds the ring alone."""
    with DeviceRing(file, device) as ring:

        def place(offset: int, length: int) -> Any:
            target = torch.empty(length, dtype=torch.uint8, device=device)
            ring.fill(target, offset)
            return target.untyped_storage()

        return load_archive(torch, archive, place, device, weights_only)


def _load_into_memory(torch: Any, file: ModelFile, archive: Archive, map_location: Any, weights_only: bool) -> Any:
    memory = PlaintextMemory(file.size)
    file.read_all_into(memory.view)
    try:
        archive.read_from(memory.view)
        whole = torch.frombuffer(memory.view, dtype=torch.uint8).untyped_storage()

        def place(offset: int, length: int) -> Any:
            return whole[offset : offset + length]

        return load_archive(torch, archive, place, map_location, weights_only)
    except BaseException:
        wipe(memory.view)  # Not closed: whoever kept a part of it, such as the caller's map_location, sees zeros.
        raise
