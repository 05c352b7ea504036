"""Our rules in the words of EventBridge Scheduler: exactly, or not at all. Pure.

What it cannot say is fired by the planner: L and #, periods of calendar months and years, and those
that are no whole number of minutes. Its clocks do as ours: a wall time that the change to summer
time skips is skipped, one that the change back repeats is due once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import ceil

from cloudfn.model.cron import days_exist, field_numbers, split_days
from cloudfn.model.schedule import Cron, Period, Rule, ScaleAt

#: characters of an expression, and of a time zone
_LONGEST = 256
_LONGEST_ZONE = 50
#: minutes of a rate
_LONGEST_RATE = 366 * 24 * 60


@dataclass(frozen=True, slots=True)
class AwsRule:
    """When an EventBridge schedule is due."""

    #: `cron(0 6 ? * 2-6 *)` or `rate(5 minutes)`
    expression: str
    timezone: str = "UTC"
    #: whole seconds since the epoch of the first time; None where the expression says it
    start: int | None = None


def aws_rules(rule: Rule, anchor: float, now: float) -> tuple[AwsRule, ...]:
    """Return what together is due when a rule is; nothing where EventBridge cannot say it.

    Two of them may name the same time, which is due once.

    Args:
        rule: The rule.
        anchor: Where a Period's time is counted from, in seconds since the epoch.
        now: Seconds since the epoch; a rate begins with the first time after it.
    """
    if isinstance(rule, Period):
        return _rate(rule, anchor, now)
    cron = rule.cron if isinstance(rule, ScaleAt) else rule
    if len(cron.timezone) > _LONGEST_ZONE:
        return ()
    return tuple(AwsRule(each, cron.timezone) for each in aws_expressions(cron))


def aws_expressions(cron: Cron) -> tuple[str, ...]:
    """Return the expressions that together are due when a cron expression is; or none at all.

    Unix is due on days that match either kind of days, EventBridge knows one kind at a time.
    """
    _, _, day, _, weekday = cron.cron_string.split()
    if any(mark in f"{day}{weekday}".upper() for mark in "L#"):
        return ()
    found = [_expression(part) for part in split_days(cron.cron_string)]
    expressions = tuple(each for each in found if each)
    too_long = any(len(each) > _LONGEST for each in expressions)
    return () if too_long else expressions


def _expression(text: str) -> str:
    """Return an expression with one kind of days; empty where there is no such day."""
    minutes, hours, days, months, weekdays = field_numbers(text)
    if not days_exist(days, months):
        return ""
    # Theirs count from Sunday as 1; ours has Sunday as 0 and 7.
    weekdays = {weekday % 7 + 1 for weekday in weekdays}
    day, weekday = _listed(days, 1, 31), "?"
    if len(weekdays) < 7:
        day, weekday = "?", _listed(weekdays, 1, 7)
    month = _listed(months, 1, 12)
    return f"cron({_listed(minutes, 0, 59)} {_listed(hours, 0, 23)} {day} {month} {weekday} *)"


def _listed(numbers: Collection[int], low: int, high: int) -> str:
    """Return a field that names some numbers of those that it can have."""
    if len(numbers) == high - low + 1:
        return "*"
    least, most = min(numbers), max(numbers)
    if len(numbers) > 2 and len(numbers) == most - least + 1:
        return f"{least}-{most}"
    return ",".join(map(str, sorted(numbers)))


def _rate(period: Period, anchor: float, now: float) -> tuple[AwsRule, ...]:
    minutes = period.fixed.total_seconds() / 60
    if period.calendar_months or minutes % 1 or not 1 <= minutes <= _LONGEST_RATE:
        return ()
    seconds = period.fixed.total_seconds()
    number = max(int((now - anchor) // seconds) + 1, 1)
    unit = "minute" if minutes == 1 else "minutes"
    # Whole seconds, and never before it is due.
    start = ceil(anchor + number * seconds)
    return (AwsRule(f"rate({int(minutes)} {unit})", start=start),)
