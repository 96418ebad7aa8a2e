"""The stages of a license's time: it holds, it ends soon, its grace period, its end. docs/spec/license.md, section 15.

Only unlocking asks. A model that is loaded stays loaded, and nothing stops it at the end.
"""

from datetime import datetime, timedelta

from licensing.errors import ExpiredError, NotYetValidError, UsageError
from licensing.license import License
from licensing.local_time import local_text, remaining_text

__all__ = ["WARNING_DAYS", "check_validity", "has_ended", "validity_warning"]

WARNING_DAYS = 30
"""From how many days before the end on a warning is given."""


def check_validity(claims: License, now: datetime) -> None:
    """Compares a license's validity with the clock.

    Raises:
        NotYetValidError: it has not begun.
        ExpiredError: it has ended, and its grace period, too.
        UsageError: the time has no time zone.
    """
    if now.tzinfo is None:
        raise UsageError("the time has no time zone", "give datetime.now(timezone.utc), or leave it out")
    if now < claims.not_before:
        raise NotYetValidError(
            f"the license begins at {local_text(claims.not_before)}, and the clock of this machine says "
            f"{local_text(now)}",
            "check the clock of this machine",
        )
    if has_ended(claims, now):
        grace = f", and its grace period of {remaining_text(claims.policy.grace)} too" if claims.policy.grace else ""
        raise ExpiredError(f"the license ended at {local_text(claims.expires)}{grace}")


def has_ended(claims: License, now: datetime) -> bool:
    """Tells whether a license has ended, with its grace period."""
    # The end plus the grace period may be a date that cannot be expressed.
    return now >= claims.expires and now - claims.expires >= claims.policy.grace


def validity_warning(claims: License, now: datetime) -> str | None:
    """Returns what its user should know about the end of a license that holds; None while there is time."""
    remaining = claims.expires - now
    if remaining >= timedelta(days=WARNING_DAYS):
        return None
    if remaining > timedelta(0):
        return f"the license ends at {local_text(claims.expires)}, {remaining_text(remaining)} from now"
    left = remaining_text(claims.policy.grace + remaining)
    return f"the license ended at {local_text(claims.expires)}; its grace period lasts for another {left}"
