"""What follows from the figures: medians divided by each other, for programs, and sentences for people."""

from dataclasses import asdict, dataclass

from tools.bench.candidate import CALL, TOUCHED, Results

__all__ = ["Ratio", "findings", "ratios"]

TENSORS = ("torch", "safetensors")
"""The types whose tensors peers load as well."""

PEERS = ("cryptotensors", "tensorizer", "one_shot", "fernet")


@dataclass(frozen=True)
class Ratio:
    """How long one thing takes, in times of another.

    Attributes:
        time_of, in_times_of: names of candidates.
        what: which of their times, "call" or "touched".
        page_cache: "warm" or "dropped".
        ratio: below 1, the first is the faster one.
    """

    time_of: str
    in_times_of: str
    what: str
    page_cache: str
    ratio: float

    def to_json(self) -> dict[str, object]:
        """Returns the same, for programs."""
        return asdict(self)


def ratios(results: Results) -> list[Ratio]:
    """Returns every ratio that means something, of what was measured."""
    kinds = [name.removesuffix(".locked") for name in _names(results) if name.endswith(".locked")]
    pairs = [("decrypt", "limit", CALL, False), ("encrypt", "copy", CALL, False)]
    for kind in kinds:
        locked, plain = f"{kind}.locked", f"{kind}.plain"
        pairs += [(locked, plain, what, cold) for what in (CALL, TOUCHED) for cold in (False, True)]
        pairs += [(locked, "limit", CALL, False)] if kind != "start" else []
        pairs += [(locked, f"peer.{peer}", TOUCHED, False) for peer in PEERS if kind in TENSORS]
        pairs += [(f"{locked}.lazy", locked, TOUCHED, False), (f"{locked}.lazy", f"{plain}.lazy", TOUCHED, False)]
    found = []
    for name, other, what, cold in pairs:
        value = results.ratio(name, other, what, cold)
        if value is not None:
            found.append(Ratio(name, other, what, "dropped" if cold else "warm", round(value, 4)))
    return found


def findings(results: Results) -> list[str]:
    """Returns what the table does not show in a line."""
    lines = []
    labels = {each.candidate.name: each.candidate.label for each in results.measurements if not each.candidate.cold}
    for each in ratios(results):
        if each.in_times_of == "peer.cryptotensors":
            kind = each.time_of.partition(".")[0]
            lines.append(f"{kind}: the locked load is {1 / each.ratio:.2f} × as fast as cryptotensors")
        if each.time_of.endswith(".lazy") and each.in_times_of.endswith(".locked"):
            lines.append(f"{labels[each.time_of]}: one tensor takes {each.ratio:.1%} of the time of all")
    return lines


def _names(results: Results) -> list[str]:
    """Returns the names of the candidates, each once."""
    return list(dict.fromkeys(each.candidate.name for each in results.measurements))
