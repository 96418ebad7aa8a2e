"""A state dict of PyTorch whose tensors are decrypted one by one: the locked counterpart of `torch.load(mmap=True)`."""

from collections.abc import Mapping
from typing import Any

from cryptors.errors import ModelMalformedError
from cryptors.lazy_tensors import LazyTensor, LazyTensors
from cryptors.reader import LockedModel, ModelFile
from cryptors.torch_archive import Archive, is_archive
from licensing.errors import UsageError

__all__ = ["lazy_state_dict"]


def lazy_state_dict(torch: Any, model: LockedModel, map_location: Any, weights_only: bool) -> LazyTensors:
    """Returns the tensors of a state dict by name, each decrypted when it is asked for.

    PyTorch's own unpickler builds the state dict without data, on its device "meta", where each storage knows its
    offset in the file (`_checkpoint_offset`, PyTorch 2.7). That is checked against the archive before it is used.

    Args:
        torch: the module.
        model: the open locked model, which stays open.
        map_location: where tensors go: None, or a device.
        weights_only: as in `torch.load`.

    Raises:
        UsageError: the model is no flat state dict of plain tensors, or PyTorch before 1.6 wrote it.
        Exception: whatever `torch.load` raises.
    """
    device = torch.device("cpu" if map_location is None else map_location)
    file = model.file()
    if not is_archive(file):
        raise _not_for("files of PyTorch before 1.6")
    archive = Archive(file.read_at, file.size)
    if not archive.is_native(torch):
        raise _not_for("files of machines with another byte order")
    try:
        state = torch.load(archive, map_location="meta", weights_only=weights_only, mmap=False)
    except NotImplementedError as cause:  # Such as quantized tensors, which the device "meta" does not have.
        raise _not_for("tensors of this kind") from cause
    if not isinstance(state, Mapping) or not all(_is_plain(torch, name, tensor) for name, tensor in state.items()):
        raise _not_for("anything but a state dict of plain tensors")
    return LazyTensors(model, state.keys(), lambda name: _place(torch, archive, file, state[name], name, device))


def _is_plain(torch: Any, name: Any, tensor: Any) -> bool:
    return (
        isinstance(name, str)
        and type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout == torch.strided
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
        and hasattr(tensor.untyped_storage(), "_checkpoint_offset")
    )


def _place(torch: Any, archive: Archive, file: ModelFile, tensor: Any, name: str, device: Any) -> LazyTensor:
    storage = tensor.untyped_storage()
    if storage.nbytes() and not archive.storage_at(storage._checkpoint_offset, storage.nbytes()):
        raise ModelMalformedError(f"the archive does not hold the tensor {name[:200]!r} where PyTorch looks for it")
    width = tensor.element_size()
    last = sum((length - 1) * stride for length, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start, size = tensor.storage_offset() * width, (last + 1) * width if tensor.numel() else 0
    if start + size > storage.nbytes():
        raise ModelMalformedError(f"the tensor {name[:200]!r} is larger than its storage")
    is_contiguous = tensor.is_contiguous()

    def make(view: memoryview, shape: tuple[int, ...]) -> Any:
        if not view:
            made = torch.empty(shape, dtype=tensor.dtype)
        else:
            flat = torch.frombuffer(view, dtype=tensor.dtype)
            made = flat.reshape(shape) if is_contiguous else flat.as_strided(shape, tensor.stride())
        made = made.to(device)
        if isinstance(tensor, torch.nn.Parameter):
            return torch.nn.Parameter(made, requires_grad=tensor.requires_grad)
        return made.requires_grad_(tensor.requires_grad)

    return LazyTensor(
        file=file,
        offset=storage._checkpoint_offset + start,
        size=size,
        shape=tuple(tensor.shape),
        dtype=tensor.dtype,
        make=make,
        is_contiguous=is_contiguous,
    )


def _not_for(what: str) -> UsageError:
    return UsageError(f"lazy loading is not for {what}", "leave lazy out")
