"""Safetensors of a locked model that are decrypted one by one: the locked counterpart of `safetensors.safe_open`."""

from collections.abc import Sequence
from typing import Any

from cryptors.errors import ModelMalformedError
from cryptors.lazy_tensors import LazyTensor, LazyTensors
from cryptors.reader import LockedModel, ModelFile
from cryptors.safetensors_file import TensorPlace, element_type, read_places, tensor_over
from licensing.errors import UsageError

__all__ = ["lazy_tensors"]


def lazy_tensors(
    model: LockedModel, shards: Sequence[str], index: dict[str, str], framework: str, device: Any
) -> LazyTensors:
    """Returns the tensors of a model by name, each decrypted when it is asked for.

    A shard's header is read when the first of its tensors is; without an index, all headers are read now, because
    nothing else says which tensors there are.

    Args:
        model: the open locked model, which stays open.
        shards: its safetensors files.
        index: the file of each tensor, where the model has an index; otherwise empty.
        framework: "pt" or "np".
        device: where PyTorch tensors go.

    Raises:
        UsageError: a file is unusual, so that only the package safetensors can load it, and not lazily.
        ModelMalformedError: two files hold tensors of the same name.
    """
    headers: dict[str, dict[str, TensorPlace]] = {}

    def header(shard: str) -> dict[str, TensorPlace]:
        if shard not in headers:
            places = read_places(model.file(shard))
            if places is None:
                raise UsageError(f"lazy loading is not for the unusual header of {shard!r}", "leave lazy out")
            headers[shard] = {place.name: place for place in places}
        return headers[shard]

    def find(name: str) -> LazyTensor:
        place = header(where[name]).get(name)
        if place is None:
            raise ModelMalformedError(f"the model lacks the tensor {name[:200]!r} that its index names")
        return _lazy_tensor(model.file(where[name]), place, framework, device)

    where = dict(index)
    if not index:
        for shard in shards:
            if both := where.keys() & header(shard).keys():
                raise ModelMalformedError(f"two shards of the model hold the tensor {min(both)[:200]!r}")
            where.update(dict.fromkeys(header(shard), shard))
    return LazyTensors(model, where, find)


def _lazy_tensor(file: ModelFile, place: TensorPlace, framework: str, device: Any) -> LazyTensor:
    element = element_type(framework, place.dtype)
    if element is None:
        raise UsageError(f"the tensor {place.name[:200]!r} has the type {place.dtype}, which is not there")

    def make(view: memoryview, shape: tuple[int, ...]) -> Any:
        tensor = tensor_over(framework, view, element, shape)
        return tensor.to(device) if framework == "pt" else tensor

    return LazyTensor(file, place.offset, place.size, place.shape, element, make)
