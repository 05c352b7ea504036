"""Our rules and what EventBridge is told are due at the same times, by two evaluators."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cloudfn.control.schedules.times import upcoming
from cloudfn.errors import InvalidError
from cloudfn.model.schedule import Cron, Period, ScaleAt
from cloudfn.providers.aws.cron import aws_expressions, aws_rules
from cloudfn.testing.aws.scheduler_times import times_of

DAYS = ["SUN", "mon", "Tue", "WED", "THU", "FRI", "SAT"]
MONTHS = ["JAN", "feb", "Mar", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Pacific/Apia",
]
#: in the changes of clocks of these zones, and far from them
STARTS = [
    datetime(2024, 2, 27, tzinfo=UTC),
    datetime(2026, 3, 7, 20, tzinfo=UTC),
    datetime(2026, 3, 28, 20, tzinfo=UTC),
    datetime(2026, 10, 24, 20, tzinfo=UTC),
    datetime(2026, 10, 31, 20, tzinfo=UTC),
    datetime(2026, 4, 4, 0, tzinfo=UTC),
    datetime(2026, 9, 5, 0, tzinfo=UTC),
    datetime(2011, 12, 29, tzinfo=UTC),
]


def fields(low, high, words=()):
    """Return texts of one field: stars, numbers, names, ranges that may wrap, steps, lists."""
    numbers = st.integers(low, high)
    names = st.sampled_from(words) if words else st.nothing()
    one = numbers.map(str) | names
    pairs = st.tuples(numbers, numbers).filter(lambda pair: pair[0] != pair[1])
    ranges = pairs.map(lambda pair: f"{pair[0]}-{pair[1]}")
    rising = pairs.map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    steps = st.integers(1, high - low + 1)
    stepped = st.tuples(st.just("*") | rising | numbers.map(str), steps).map(
        lambda both: f"{both[0]}/{both[1]}"
    )
    element = one | ranges | stepped
    return st.just("*") | element | st.lists(element, min_size=2, max_size=4).map(",".join)


crons = st.tuples(
    fields(0, 59), fields(0, 23), fields(1, 31) | st.just("?"), fields(1, 12, MONTHS),
    fields(0, 7, DAYS) | st.just("?"),
).map(" ".join)  # fmt: skip


def ours(rule, anchor, start, until):
    moments = upcoming(rule, anchor, start)
    return {due.timestamp() for due in takewhile(lambda due: due <= until, moments)}


def theirs(rule, anchor, start, until):
    span = start.timestamp(), until.timestamp()
    return {
        due
        for each in aws_rules(rule, anchor.timestamp(), start.timestamp())
        for due in times_of(each.expression, each.timezone, each.start or 0).between(*span)
    }


@settings(deadline=None, max_examples=12)
@given(crons, st.sampled_from(ZONES), st.sampled_from(STARTS))
@example("30 1,2 * * *", "America/New_York", STARTS[1])
@example("30 1,2 * * *", "America/New_York", STARTS[4])
@example("*/10 * * * *", "Australia/Lord_Howe", STARTS[5])
@example("0 6 1,15 * MON-FRI", "Europe/Berlin", STARTS[2])
@example("0 6 * * FRI-MON", "UTC", STARTS[0])
@example("0 6 * * 5-7", "UTC", STARTS[0])
@example("0 6 * * 0,7", "UTC", STARTS[0])
@example("0 6 * * 1/1", "UTC", STARTS[0])
@example("0 6 * * 7/2", "UTC", STARTS[0])
@example("0 6 31 2 0", "UTC", STARTS[0])
@example("0 6 29 2 *", "UTC", STARTS[0])
@example("0 22-2 * NOV-FEB *", "Asia/Kolkata", STARTS[0])
def test_a_cron_expression_is_due_when_its_eventbridge_schedules_are(text, zone, start):
    try:
        rule = Cron(text, zone)
    except InvalidError:
        assume(False)
    expressions = aws_expressions(rule)
    assume(expressions)

    for each in expressions:
        assert len(each) <= 256
        assert not any(mark in each for mark in ("L", "W", "#"))
    until = start + timedelta(hours=30)
    assert theirs(rule, start, start, until) == ours(rule, start, start, until)


@settings(deadline=None, max_examples=12)
@given(
    fields(1, 31), fields(1, 12, MONTHS), fields(0, 7, DAYS), st.sampled_from(ZONES),
    st.integers(2000, 2040),
)  # fmt: skip
def test_days_agree_over_years(day, month, weekday, zone, year):
    try:
        rule = Cron(f"30 6 {day} {month} {weekday}", zone)
    except InvalidError:
        assume(False)
    start = datetime(year, 1, 1, tzinfo=UTC)
    until = start + timedelta(days=2 * 365)

    assert theirs(rule, start, start, until) == ours(rule, start, start, until)


@pytest.mark.parametrize(
    ("text", "expressions"),
    [
        ("0 6 * * *", ["cron(0 6 * * ? *)"]),
        ("*/20 6 * * MON-FRI", ["cron(0,20,40 6 ? * 2-6 *)"]),
        ("0 6 * * 0", ["cron(0 6 ? * 1 *)"]),
        ("0 6 * * 7", ["cron(0 6 ? * 1 *)"]),
        ("0 6 * * 0-6", ["cron(0 6 * * ? *)"]),
        ("0 6 1 JAN,JUL ?", ["cron(0 6 1 1,7 ? *)"]),
        ("0 6 1 * MON", ["cron(0 6 1 * ? *)", "cron(0 6 ? * 2 *)"]),
        ("0 6 30 2 MON", ["cron(0 6 ? 2 2 *)"]),
        ("0 22-1 * * *", ["cron(0 0,1,22,23 * * ? *)"]),
        ("0 6 L * *", []),
        ("0 6 * * FRI#2", []),
        ("0 6 * * L5", []),
        ("0 6 L * MON", []),
    ],
)
def test_expressions_are_plain(text, expressions):
    assert list(aws_expressions(Cron(text))) == expressions


def test_an_expression_that_would_be_too_long_is_left_to_the_planner():
    minutes = ",".join(str(n) for n in range(60) if n % 15 != 7)
    days = ",".join(str(n) for n in range(1, 32) if n % 11 != 7)
    hours = ",".join(str(n) for n in range(24) if n % 9 != 7)

    assert aws_expressions(Cron(f"{minutes} {hours} {days} 1,2,4,5,7,8,10,11 *")) == ()


def test_settings_and_their_zone_are_due_as_their_cron_is():
    rule = ScaleAt("0 6 * * *", timezone="Asia/Tokyo", min_containers=1)

    [found] = aws_rules(rule, 0.0, 0.0)

    assert (found.expression, found.timezone) == ("cron(0 6 * * ? *)", "Asia/Tokyo")


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 3000), st.floats(1.5e9, 1.6e9), st.floats(0, 1e6),
)  # fmt: skip
def test_a_rate_is_due_within_a_second_after_its_period_and_never_before(minutes, anchor, later):
    rule = Period(minutes=minutes)
    start = datetime.fromtimestamp(anchor + later, UTC)
    until = start + timedelta(minutes=5 * minutes)
    begun = datetime.fromtimestamp(anchor, UTC)

    wanted = sorted(ours(rule, begun, start, until))
    found = sorted(theirs(rule, begun, start, until + timedelta(seconds=1)))[: len(wanted)]

    assert len(wanted) >= 4
    assert len(found) == len(wanted)
    for due, rate in zip(wanted, found, strict=True):
        assert 0 <= rate - due < 1.001


@pytest.mark.parametrize(
    ("rule", "expression"),
    [
        (Period(minutes=1), "rate(1 minute)"),
        (Period(hours=2), "rate(120 minutes)"),
        (Period(seconds=180), "rate(3 minutes)"),
        (Period(weeks=1), "rate(10080 minutes)"),
        (Period(seconds=30), None),
        (Period(seconds=90), None),
        (Period(months=1), None),
        (Period(years=1, days=1), None),
        (Period(days=3000), None),
    ],
)
def test_a_period_is_a_rate_of_whole_minutes_or_left_to_the_planner(rule, expression):
    found = aws_rules(rule, 1_000.5, 1_000.5)

    assert [each.expression for each in found] == ([expression] if expression else [])
    for each in found:
        assert each.start == 1_001 + rule.fixed.total_seconds()


@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        ("cron(0 6 * * * *)", "UTC"),
        ("cron(0 6 ? * ? *)", "UTC"),
        ("cron(0 6 * * ?)", "UTC"),
        ("cron(0 6 ? * 0 *)", "UTC"),
        ("cron(0 6 ? * 8 *)", "UTC"),
        ("cron(60 6 * * ? *)", "UTC"),
        ("cron(0 6 ? * 6-2 *)", "UTC"),
        ("rate(1 minutes)", "UTC"),
        ("rate(0 minutes)", "UTC"),
        ("rate(2 minute)", "UTC"),
        ("every day", "UTC"),
        ("cron(0 6 * * ? *)", "Mars/Olympus"),
    ],
)
def test_the_evaluator_refuses_what_eventbridge_refuses(expression, zone):
    with pytest.raises(ValueError, match=r"."):
        times_of(expression, zone, 0.0)
