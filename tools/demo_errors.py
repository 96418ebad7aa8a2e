"""How the demo fails: it shows what must hold, so it ends with an error where that does not hold."""

from licensing.errors import WeightlockError

__all__ = ["DemoFailedError"]


class DemoFailedError(WeightlockError):
    """Something that must fail succeeded or failed differently, or the locked model computes something else."""

    reason = "demo_failed"
    default_hints = ("this is a defect of weightlock; please report it, with what the demo printed",)
