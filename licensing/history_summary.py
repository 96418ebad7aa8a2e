"""What a license request says of the start history. docs/spec/license.md, section 11.1.

The history itself is `licensing.start_history`.
"""

from dataclasses import dataclass
from typing import Any

from licensing.strict_json import Fields

__all__ = ["HistorySummary", "read_summary"]

MAX_STARTS = 1000
"""How many starts a request may speak of: other writers may keep more of them than this one."""


@dataclass(frozen=True)
class HistorySummary:
    """What a license request says of the history. docs/spec/license.md, section 11.1.

    Attributes:
        starts: how many different starts the history remembers, this one included.
        boots, containers: how many different boots, and how many different containers.
        since: the time of the first of them, in seconds since 1970.
        machine_kept: whether the machine had this request's fingerprint at each of them.
        gpus_kept: whether all GPUs of this request were there at each of them.
    """

    starts: int
    boots: int
    containers: int
    since: int
    machine_kept: bool
    gpus_kept: bool

    @property
    def is_stable(self) -> bool:
        """Whether a license for this request would have held at each of the starts."""
        return self.machine_kept and self.gpus_kept

    def claims(self) -> dict[str, Any]:
        """Returns the member `history` of a request."""
        return dict(vars(self))


def read_summary(fields: Fields, created: int) -> HistorySummary:
    """Reads the member `history` of a request.

    Args:
        fields: the member.
        created: the request's time, in seconds since 1970.
    """
    starts = fields.integer("starts", 1, MAX_STARTS)
    return HistorySummary(
        starts=starts,
        boots=fields.integer("boots", 1, starts),
        containers=fields.integer("containers", 0, starts),
        since=fields.integer("since", 0, created),
        machine_kept=fields.boolean("machine_kept"),
        gpus_kept=fields.boolean("gpus_kept"),
    )
