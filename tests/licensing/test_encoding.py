"""Encodings: one text for each value, and no two lists of parts with the same frames."""

import base64
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licensing.encoding import MAX_EPOCH, b64url_decode, b64url_encode, framed, from_epoch, to_epoch, utc_text


@settings(deadline=None)
@given(st.binary(max_size=70))
def test_base64url_reads_back_and_agrees_with_the_standard_library(data: bytes) -> None:
    text = b64url_encode(data)
    assert b64url_decode(text) == data
    assert text == base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AAAAA",
        "AA=",
        "AA==",
        "AAA=",
        "AB",
        "AAB",
        "A+",
        "A/",
        "A A",
        "AA\n",
        "\nAA",
        "AA.",
        "AÄ",
        "AA\0",
        "=",
        "-",
    ],
)
def test_every_other_text_is_refused(text: str) -> None:
    """Padding, characters that a lenient decoder skips, the other alphabet, and unused bits that are not zero."""
    with pytest.raises(ValueError):
        b64url_decode(text)


@settings(deadline=None)
@given(st.text(alphabet="ABgw_-=+/ \n", max_size=9))
def test_no_two_texts_mean_the_same_bytes(text: str) -> None:
    try:
        data = b64url_decode(text)
    except ValueError:
        return
    assert b64url_encode(data) == text


@settings(deadline=None)
@given(st.lists(st.binary(max_size=9), max_size=4), st.lists(st.binary(max_size=9), max_size=4))
def test_frames_of_different_parts_differ(first: list[bytes], second: list[bytes]) -> None:
    assert (framed(*first) == framed(*second)) == (first == second)


def test_frames_are_lengths_of_64_bits_and_parts() -> None:
    assert framed() == b""
    assert framed(b"", b"ab") == bytes(8) + bytes(7) + b"\x02ab"
    assert framed(bytes(300))[:8] == bytes(6) + b"\x01\x2c"


def test_times_are_whole_seconds_in_utc() -> None:
    east = timezone(timedelta(hours=5, minutes=45))
    moment = datetime(2026, 7, 1, 12, 0, 0, 999_999, tzinfo=east)
    assert to_epoch(moment) == 1782886500
    assert from_epoch(1782886500) == datetime(2026, 7, 1, 6, 15, tzinfo=timezone.utc)
    assert utc_text(moment) == "2026-07-01T06:15:00Z"


def test_the_largest_time_is_the_last_that_a_date_can_express() -> None:
    assert utc_text(from_epoch(MAX_EPOCH)) == "9999-12-31T23:59:59Z"
    with pytest.raises(ValueError):
        from_epoch(MAX_EPOCH + 1)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_epoch(datetime(2026, 7, 1))
