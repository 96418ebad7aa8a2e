"""The index of a model in shards, as model hubs write it: a JSON file that names the file of each tensor."""

import json
import posixpath
from pathlib import Path

from cryptors.errors import ModelMalformedError, ModelSourceError
from cryptors.reader import LockedModel
from cryptors.source import ModelSource
from licensing.files import read_bounded

__all__ = ["check_shards", "read_shards"]

MAX_INDEX_BYTES = 256 * 1024**2


def check_shards(model: Path, source: ModelSource, endings: tuple[str, ...]) -> None:
    """Refuses a model directory that lacks a shard which one of its indexes names.

    Args:
        model: the directory.
        source: its files.
        endings: how the names of indexes end.

    Raises:
        ModelSourceError: a shard is missing, or an index is none.
    """
    paths = {file.path for file in source.index.files}
    for path in sorted(path for path in paths if path.endswith(endings)):
        try:
            shards = set(_weight_map(path, read_bounded(model / path, "index", MAX_INDEX_BYTES)).values())
        except ValueError as cause:
            raise ModelSourceError(f"the model's {path!r} is not an index of shards") from cause
        if missing := shards - paths:
            raise ModelSourceError(f"the model lacks the shard {min(missing)[:200]!r} that its index names")


def read_shards(model: LockedModel, path: str) -> dict[str, str]:
    """Returns the path of the shard that holds each tensor.

    Args:
        model: the open locked model.
        path: the index in it.

    Raises:
        ModelMalformedError: it is no index.
    """
    try:
        return _weight_map(path, model.file(path).read_all())
    except ValueError as cause:
        raise ModelMalformedError(f"the model's {path!r} is not an index of shards") from cause


def _weight_map(path: str, data: bytes) -> dict[str, str]:
    """Returns the mapping that an index holds; it names shards as seen from its own directory."""
    try:
        weight_map = json.loads(data)["weight_map"]
        if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
            raise ValueError("not a mapping of names to names")
    except (KeyError, TypeError, RecursionError) as cause:
        raise ValueError("no mapping of names to shards") from cause
    return {tensor: posixpath.join(posixpath.dirname(path), shard) for tensor, shard in weight_map.items()}
