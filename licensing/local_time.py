"""Times as people read them: in their own time zone, with its offset. Everything stored is in UTC."""

from datetime import datetime, timedelta, timezone, tzinfo

__all__ = ["local_text", "remaining_text"]


def local_text(moment: datetime, zone: tzinfo | None = None) -> str:
    """Returns a moment in a time zone, by default the reader's: "2026-12-31 23:59 CET (UTC+01:00)"."""
    try:
        local = moment.astimezone(zone)
    except OverflowError:  # In the first and the last hours that dates can express, some zones are beyond them.
        local = moment.astimezone(timezone.utc)
    text = local.strftime("%Y-%m-%d %H:%M")
    if not local.utcoffset():
        return f"{text} UTC"
    offset = local.strftime("%z")
    name = local.tzname() or ""
    # Zones without an abbreviation call themselves by their offset, which need not be said twice.
    prefix = f" {name}" if name.isalpha() else ""
    return f"{text}{prefix} (UTC{offset[:3]}:{offset[3:5]})"


def remaining_text(remaining: timedelta) -> str:
    """Returns how long something lasts, to the unit that matters: "12 days", "5 hours", "3 minutes"."""
    seconds = max(0, int(remaining.total_seconds()))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length or (seconds >= length and unit == "minute"):
            number = seconds // length
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "less than a minute"
