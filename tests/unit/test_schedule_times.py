"""When schedules are due, across the changes of clocks of several zones; and how periods add up."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudfn.control.schedules.times import check_fires, last_fire, next_fire, upcoming
from cloudfn.errors import InvalidError
from cloudfn.model.schedule import Cron, Period

NEW_YORK = ZoneInfo("America/New_York")
#: zones, and days of 2026 on which their clocks change: by an hour, by half of one, at midnight
CHANGES = [
    ("America/New_York", (2026, 3, 8)),
    ("America/New_York", (2026, 11, 1)),
    ("Europe/Berlin", (2026, 3, 29)),
    ("Europe/Berlin", (2026, 10, 25)),
    ("Australia/Lord_Howe", (2026, 4, 5)),
    ("Australia/Lord_Howe", (2026, 10, 4)),
    ("America/Santiago", (2026, 4, 4)),
    ("America/Santiago", (2026, 9, 6)),
    ("Africa/Cairo", (2026, 4, 24)),
    ("Asia/Kolkata", (2026, 5, 1)),
]
MINUTE = timedelta(minutes=1)
numbers = {"minute": range(60), "hour": range(24), "weekday": range(7)}


def field(name):
    """Return expressions of one field, each with the numbers that it stands for."""
    values = numbers[name]
    return st.one_of(
        st.just(("*", set(values))),
        st.sampled_from(values).map(lambda n: (str(n), {n})),
        st.integers(2, len(values)).map(lambda s: (f"*/{s}", set(values[::s]))),
        st.tuples(st.sampled_from(values), st.sampled_from(values)).filter(lambda p: p[0] < p[1])
        .map(lambda p: (f"{p[0]}-{p[1]}", set(range(p[0], p[1] + 1)))),
    )  # fmt: skip


def first_showings(zone, start, hours):
    """Return the whole minutes of some hours: (instant, wall time) at its first showing alone."""
    seen = set()
    for number in range(-180, hours * 60):
        instant = start + number * MINUTE
        wall = instant.astimezone(zone).replace(tzinfo=None)
        if wall not in seen:
            seen.add(wall)
            if number >= 0:
                yield instant, wall


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(CHANGES), field("minute"), field("hour"), field("weekday"),
    st.integers(0, 26 * 60 - 1),
)  # fmt: skip
def test_cron_is_due_at_each_first_showing_of_a_matching_wall_time(
    change, minute, hour, weekday, look
):
    name, day = change
    zone = ZoneInfo(name)
    start = datetime(*day, tzinfo=zone).astimezone(UTC) - timedelta(hours=1)
    schedule = Cron(f"{minute[0]} {hour[0]} * * {weekday[0]}", name)

    wanted = [
        instant
        for instant, wall in first_showings(zone, start, 26)
        if wall.minute in minute[1] and wall.hour in hour[1]
        and (wall.weekday() + 1) % 7 in weekday[1]
    ]  # fmt: skip
    found = list(islice(upcoming(schedule, start, start - MINUTE), len(wanted)))

    assert found == wanted
    # Looking back from anywhere meets the same times.
    moment = start + look * MINUTE
    past = [instant for instant in wanted if instant <= moment]
    if past:
        assert last_fire(schedule, start, moment + timedelta(seconds=30)) == past[-1]


def test_six_in_the_morning_stays_six_in_the_morning():
    schedule = Cron("0 6 * * *", "America/New_York")
    start = datetime(2026, 1, 1, tzinfo=UTC)

    times = [due.astimezone(NEW_YORK) for due in islice(upcoming(schedule, start, start), 365)]

    assert {(due.hour, due.minute) for due in times} == {(6, 0)}
    assert len({due.date() for due in times}) == 365


def test_a_skipped_wall_time_is_skipped_and_a_repeated_one_is_due_once():
    schedule = Cron("30 1,2 * * *", "America/New_York")
    spring = datetime(2026, 3, 8, tzinfo=NEW_YORK)
    autumn = datetime(2026, 11, 1, tzinfo=NEW_YORK)

    skipped = [due.astimezone(NEW_YORK) for due in islice(upcoming(schedule, spring, spring), 2)]
    once = [due.astimezone(NEW_YORK) for due in islice(upcoming(schedule, autumn, autumn), 2)]

    assert [str(due) for due in skipped] == [
        "2026-03-08 01:30:00-05:00", "2026-03-09 01:30:00-04:00",
    ]  # fmt: skip
    assert [str(due) for due in once] == ["2026-11-01 01:30:00-04:00", "2026-11-01 02:30:00-05:00"]


def test_looking_back_inside_the_repeated_hour_finds_times_that_clocks_will_show_again():
    schedule = Cron("50 1 * * *", "America/New_York")
    again = datetime(2026, 11, 1, 1, 30, tzinfo=NEW_YORK, fold=1)

    found = last_fire(schedule, again, again)

    assert found == datetime(2026, 11, 1, 5, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0 0 13 * FRI", [2, 9, 13, 16, 23, 30]),  # either kind of day
        ("0 0 L * MON", [5, 12, 19, 26, 31]),
        ("0 0 * * FRI#2", [9]),
        ("0 0 * * L5", [30]),
        ("0 0 L * *", [31]),
        ("0 0 ? * 7", [4, 11, 18, 25]),
    ],
)
def test_days_are_those_of_unix(text, days):
    start = datetime(2025, 12, 31, 12, tzinfo=UTC)
    january = [
        due.day for due in islice(upcoming(Cron(text), start, start), 10) if due.month == 1
        and due.year == 2026
    ]  # fmt: skip
    assert january == days


def test_a_schedule_that_the_clocks_always_skip_is_never_due():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    schedule = Cron("30 2 * 3 SUN#2", "America/New_York")

    assert next_fire(schedule, now, now) is None
    with pytest.raises(InvalidError, match="never due"):
        check_fires(schedule, now.timestamp())


ANYTHING = r"[0-9*/,\-?L#]{1,6} [0-9*/,\-]{1,6} [0-9*/,\-?L]{1,6} \* [0-9*/,\-#LMON]{1,6}"


@given(st.from_regex(ANYTHING, fullmatch=True))
def test_whatever_is_accepted_can_be_computed(text):
    try:
        schedule = Cron(text)
    except InvalidError:
        return
    assert croniter.is_valid(text)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    due = next_fire(schedule, now, now)
    assert due is not None
    assert last_fire(schedule, now, due) == due


# Periods

periods = st.builds(
    Period,
    years=st.integers(0, 2), months=st.integers(0, 14), weeks=st.integers(0, 3),
    days=st.integers(0, 40), hours=st.integers(0, 30), minutes=st.integers(0, 90),
    seconds=st.sampled_from([0.1, 0.5, 1, 59.9]),
)  # fmt: skip
instants = st.integers(0, 10 * 366 * 86_400).map(
    lambda seconds: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


@given(periods, instants, st.integers(0, 200))
def test_periods_are_due_in_order_and_found_from_both_sides(period, anchor, steps):
    moment = anchor + steps * (period.fixed + timedelta(days=30) * period.calendar_months) / 3

    due = next_fire(period, anchor, moment)
    before = last_fire(period, anchor, moment)

    assert due > moment >= anchor
    assert last_fire(period, anchor, due) == due
    if before is None:
        assert due == next_fire(period, anchor, anchor)
    else:
        assert before <= moment
        assert next_fire(period, anchor, before) == due


def test_the_first_run_comes_one_period_after_the_anchor():
    anchor = datetime(2026, 1, 1, tzinfo=UTC)

    assert next_fire(Period(seconds=0.5), anchor, anchor) == anchor + timedelta(seconds=0.5)
    assert last_fire(Period(days=1), anchor, anchor + timedelta(hours=23)) is None
    assert next_fire(Period(days=1), anchor, anchor - timedelta(days=9)) == anchor + timedelta(1)


def test_months_are_the_calendars_and_do_not_drift():
    anchor = datetime(2024, 1, 31, 12, tzinfo=UTC)

    monthly = islice(upcoming(Period(months=1), anchor, anchor), 6)
    leap = datetime(2024, 2, 29, tzinfo=UTC)
    yearly = islice(upcoming(Period(years=1), leap, leap), 4)

    assert [(due.month, due.day) for due in monthly] == [
        (2, 29), (3, 31), (4, 30), (5, 31), (6, 30), (7, 31),
    ]  # fmt: skip
    assert [(due.year, due.day) for due in yearly] == [
        (2025, 28), (2026, 28), (2027, 28), (2028, 29),
    ]  # fmt: skip


def test_short_periods_do_not_drift():
    anchor = datetime(2026, 1, 1, tzinfo=UTC)
    late = anchor + timedelta(days=365)

    assert next_fire(Period(seconds=0.1), anchor, late) == late + timedelta(seconds=0.1)
