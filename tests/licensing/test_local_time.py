"""Times for people: in their own zone, with its offset, and durations in the unit that matters."""

import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from licensing.encoding import MAX_EPOCH, from_epoch
from licensing.local_time import local_text, remaining_text

SUMMER = datetime(2026, 7, 1, 12, 0, tzinfo=timezone.utc)
WINTER = datetime(2026, 12, 31, 22, 59, 59, tzinfo=timezone.utc)


def zone(hours: float, name: str | None = None) -> timezone:
    offset = timedelta(hours=hours)
    return timezone(offset) if name is None else timezone(offset, name)


@pytest.mark.parametrize(
    ("moment", "zone", "text"),
    [
        (SUMMER, timezone.utc, "2026-07-01 12:00 UTC"),
        (SUMMER, zone(2, "CEST"), "2026-07-01 14:00 CEST (UTC+02:00)"),
        (WINTER, zone(1, "CET"), "2026-12-31 23:59 CET (UTC+01:00)"),
        (SUMMER, zone(-4, "EDT"), "2026-07-01 08:00 EDT (UTC-04:00)"),
        (SUMMER, zone(-2.5, "NDT"), "2026-07-01 09:30 NDT (UTC-02:30)"),
        (WINTER, zone(5.75, "+0545"), "2027-01-01 04:44 (UTC+05:45)"),
        (WINTER, zone(5.75), "2027-01-01 04:44 (UTC+05:45)"),
        (WINTER, zone(0, "GMT"), "2026-12-31 22:59 UTC"),
    ],
)
def test_a_moment_in_a_zone(moment: datetime, zone: timezone, text: str) -> None:
    assert local_text(moment, zone) == text


@pytest.fixture
def zone_of_the_system() -> Iterator[None]:
    """Puts the process into New York's time zone; the rule is written out, as no time zone database need be there."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "EST5EDT,M3.2.0,M11.1.0"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("zone_of_the_system")
def test_by_default_it_is_the_zone_of_the_reader() -> None:
    assert local_text(SUMMER) == "2026-07-01 08:00 EDT (UTC-04:00)"
    assert local_text(WINTER) == "2026-12-31 17:59 EST (UTC-05:00)"


@pytest.mark.parametrize("hours", [-12, -1, 0, 1, 14])
def test_the_first_and_the_last_moments_can_be_shown_everywhere(hours: int) -> None:
    """A license may end with the year 9999, when it is the year 10000 in the east already."""
    assert local_text(from_epoch(MAX_EPOCH), zone(hours)).startswith("9999-12-31 ")
    assert local_text(from_epoch(0), zone(hours))[:4] in ("1969", "1970")


@pytest.mark.parametrize(
    ("remaining", "text"),
    [
        (timedelta(days=364, hours=23), "364 days"),
        (timedelta(days=2), "2 days"),
        (timedelta(days=1, hours=23, minutes=59), "47 hours"),
        (timedelta(hours=2), "2 hours"),
        (timedelta(minutes=119, seconds=59), "119 minutes"),
        (timedelta(minutes=1, seconds=59), "1 minute"),
        (timedelta(seconds=59), "less than a minute"),
        (timedelta(0), "less than a minute"),
        (timedelta(days=-3), "less than a minute"),
    ],
)
def test_what_remains_is_said_in_the_unit_that_matters(remaining: timedelta, text: str) -> None:
    assert remaining_text(remaining) == text
