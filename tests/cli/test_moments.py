"""Times as people write and read them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.cli import moments

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("1w", 604_800), ("1d12h", 129_600)],
)
def test_a_span_is_so_long_before_now(text, seconds):
    assert moments.parse_moment(text, NOW) == NOW - seconds


def test_a_date_with_a_zone_is_that_moment():
    expected = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()

    assert moments.parse_moment("2026-03-01T12:00:00+00:00", NOW) == expected


def test_a_date_without_a_zone_is_local_time():
    expected = datetime(2026, 3, 1, 12).astimezone().timestamp()

    assert moments.parse_moment("2026-03-01 12:00", NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "5", "m5", "1.2.3h", ".h", "5x", "-5m"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="isoformat"):
        moments.parse_moment(text, NOW)


@given(st.text(max_size=20))
def test_no_text_does_anything_but_parse_or_raise_value_error(text):
    try:
        moments.parse_moment(text, NOW)
    except ValueError:
        return


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (0.314, "0.31 s"),
        (3.21, "3.2 s"),
        (245.9, "4m 05s"),
        (7800, "2h 10m"),
        (273_600, "3d 04h"),
        (-1, "0.00 s"),
    ],
)
def test_a_span_reads_well(seconds, text):
    assert moments.span(seconds) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [(None, "-"), (NOW, "just now"), (NOW + 5, "just now"), (NOW - 7, "7 s ago")],
)
def test_ago_reads_well(moment, text):
    assert moments.ago(moment, NOW) == text
