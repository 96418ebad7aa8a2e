"""Which hardware a license is for, beside what its request names: spare GPUs, and GPUs in place of MIG instances.

docs/spec/license.md, section 14; docs/adr/0010 says why a spare machine has a license of its own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from licensing.errors import UsageError
from licensing.gpus import GPU_UUID_PATTERN, Gpu

__all__ = ["DEFAULT_SLOTS", "MigBinding", "SlotTerms", "licensed_gpus"]

MigBinding = Literal["instance", "parent"]


@dataclass(frozen=True)
class SlotTerms:
    """What a vendor chooses about the slots of a license.

    Attributes:
        mig: whether a MIG instance of the request is licensed by itself, or the whole GPU that it is a part of, with
            every instance that the customer may divide it into.
        spare_gpus: UUIDs of GPUs that are not in the machine yet.
    """

    mig: MigBinding = "instance"
    spare_gpus: tuple[str, ...] = ()


DEFAULT_SLOTS = SlotTerms()


def licensed_gpus(requested: Sequence[Gpu], terms: SlotTerms) -> list[Gpu]:
    """Returns the GPUs that a license is for, each once: those of its request, and the spare ones.

    Raises:
        UsageError: a spare GPU has no GPU's UUID, is licensed anyhow, or the request names the machine alone.
    """
    if terms.mig not in ("instance", "parent"):
        raise UsageError(f"a license cannot bind to the {terms.mig[:20]!r} of MIG", "write instance or parent")
    gpus = {gpu.identity: gpu for gpu in (_bound(each, terms.mig) for each in requested)}
    for uuid in terms.spare_gpus:
        if not re.fullmatch(GPU_UUID_PATTERN, uuid, re.ASCII):
            raise UsageError(f"{uuid[:60]!r} is not a GPU's UUID", "write it as 'nvidia-smi -L' prints it: GPU-…")
        if not requested:
            raise UsageError(
                "a license for the machine alone holds with every GPU, also with a spare one", "leave --spare-gpu out"
            )
        if uuid in gpus:
            raise UsageError(f"the GPU {uuid!r} is licensed already", "leave --spare-gpu out for it")
        gpus[uuid] = Gpu(uuid, "spare GPU", index=0)
    return list(gpus.values())


def _bound(gpu: Gpu, mig: MigBinding) -> Gpu:
    """Returns the GPU to license for one that a request names; the request does not say what a parent is called."""
    if gpu.parent_uuid is None or mig == "instance":
        return gpu
    return Gpu(gpu.parent_uuid, re.sub(r" MIG [0-9].*", "", gpu.name), gpu.index)
