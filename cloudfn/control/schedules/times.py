"""When a schedule is due: arithmetic with clocks and calendars. Pure.

croniter finds wall times; which of them exist, and once, is decided here, so that the change to
summer time means the same in every zone: a skipped wall time is skipped, a repeated one is due the
first time only. Instants come and go in UTC: of two in one other zone, Python compares what the
clocks show.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from cloudfn.errors import InvalidError
from cloudfn.model.cron import split_days
from cloudfn.model.schedule import Cron, Period

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

#: an expression that is not due for so long never is: the calendar repeats after 400 years, but
#: leap days meet every weekday within 40
_PATIENCE = timedelta(days=50 * 366)


def next_fire(schedule: Cron | Period, anchor: datetime, after: datetime) -> datetime | None:
    """Return the first time that is later than `after` when a schedule is due.

    Args:
        schedule: The schedule.
        anchor: Where a Period's time is counted from; it is due for the first time one period
            later.
        after: The instant to look from.

    Returns:
        The instant; None: never again.
    """
    if isinstance(schedule, Period):
        number = _passed(schedule, anchor, after) + 1
        return _of_period(schedule, anchor, number)
    found = (_next_wall(text, schedule, after) for text in split_days(schedule.cron_string))
    return min(filter(None, found), default=None)


def last_fire(schedule: Cron | Period, anchor: datetime, until: datetime) -> datetime | None:
    """Return the latest time that is not later than `until` when a schedule was due.

    Args:
        schedule: The schedule.
        anchor: Where a Period's time is counted from.
        until: The instant to look back from.

    Returns:
        The instant; None: never before.
    """
    if isinstance(schedule, Period):
        number = _passed(schedule, anchor, until)
        return _of_period(schedule, anchor, number) if number > 0 else None
    found = (_last_wall(text, schedule, until) for text in split_days(schedule.cron_string))
    return max(filter(None, found), default=None)


def upcoming(schedule: Cron | Period, anchor: datetime, after: datetime) -> Iterator[datetime]:
    """Yield the times later than `after` when a schedule is due, the earliest first."""
    while (due := next_fire(schedule, anchor, after)) is not None:
        yield due
        after = due


def check_fires(schedule: Cron | Period, now: float) -> None:
    """Raise InvalidError unless a schedule will ever be due, as this machine knows its zone.

    Args:
        schedule: The schedule.
        now: Seconds since the epoch.
    """
    moment = datetime.fromtimestamp(now, UTC)
    if next_fire(schedule, moment, moment) is None:
        raise InvalidError(
            f"The schedule {schedule} is never due.",
            hint="All its times are such that the change to summer time skips them.",
        )


# Cron


def _next_wall(text: str, schedule: Cron, after: datetime) -> datetime | None:
    zone = _zone(schedule.timezone)
    start = after.astimezone(zone).replace(tzinfo=None)
    for wall in _walls(text, start, "get_next"):
        due = _instant(wall, zone)
        if due is not None and due > after:
            return due
    return None


def _last_wall(text: str, schedule: Cron, until: datetime) -> datetime | None:
    zone = _zone(schedule.timezone)
    local = until.astimezone(zone)
    # In a repeated hour, times that clocks will show again are due already. croniter looks strictly
    # back, and a time that just began counts.
    shown = local + (_offset(local.replace(fold=0)) - _offset(local))
    start = shown.replace(tzinfo=None) + timedelta(minutes=1)
    for wall in _walls(text, start, "get_prev"):
        due = _instant(wall, zone)
        if due is not None and due <= until:
            return due
    return None


def _walls(text: str, start: datetime, step: Literal["get_next", "get_prev"]) -> Iterator[datetime]:
    """Yield wall times to one side of `start`, as long as that may come to something."""
    # Its import starts a process, to find out about the machine.
    from croniter import CroniterBadDateError, croniter

    times = croniter(text, start)
    while True:
        try:
            wall = getattr(times, step)(datetime)
        except (CroniterBadDateError, OverflowError, ValueError):
            return
        if abs(wall - start) > _PATIENCE:
            return
        yield wall


def _instant(wall: datetime, zone: ZoneInfo) -> datetime | None:
    """Return when clocks show a time for the first time; None where they skip it."""
    due = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return due if due.astimezone(zone).replace(tzinfo=None) == wall else None


def _offset(local: datetime) -> timedelta:
    offset = local.utcoffset()
    assert offset is not None
    return offset


def _zone(name: str) -> ZoneInfo:
    # Every daemon imports this module, and few have schedules.
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidError(
            f"This machine knows no time zone {name!r}.",
            hint="Install the system's package tzdata, or `pip install tzdata`.",
        ) from None


# Period


def _passed(period: Period, anchor: datetime, until: datetime) -> int:
    """Return how many times a period was due up to `until`, which may be before the anchor."""
    if until <= anchor:
        return 0
    if not period.calendar_months:
        return (until - anchor) // period.fixed
    # A month is never longer than 31 days: the estimate is too low by a few at most.
    longest = timedelta(days=31) * period.calendar_months + period.fixed
    number = (until - anchor) // longest
    while _of_period(period, anchor, number + 1) <= until:
        number += 1
    return number


def _of_period(period: Period, anchor: datetime, number: int) -> datetime:
    """Return the due time `number`, counted from the anchor, which is number 0."""
    months = anchor.month - 1 + period.calendar_months * number
    year, month = anchor.year + months // 12, months % 12 + 1
    day = min(anchor.day, monthrange(year, month)[1])
    return anchor.replace(year=year, month=month, day=day) + period.fixed * number
