"""When an EventBridge schedule is due, from what its documentation says alone. Pure.

From "Schedule types in EventBridge Scheduler": six fields, one kind of days at a time, Sunday is 1;
a wall time that does not exist is left out, one that comes twice is due once, the first time here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_CRON = re.compile(r"cron\(([^()]*)\)\Z")
_RATE = re.compile(r"rate\((\d+) (minutes?|hours?|days?)\)\Z")
_AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)\Z")
_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400}
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
#: lowest and highest number of each field, and words for numbers from 1
_FIELDS: tuple[tuple[int, int, list[str]], ...] = (
    (0, 59, []),
    (0, 23, []),
    (1, 31, []),
    (1, 12, _MONTHS),
    (1, 7, _DAYS),
    (1970, 2199, []),
)


class Times(Protocol):
    """When something is due."""

    def between(self, after: float, until: float) -> Iterator[float]:
        """Yield times later than `after`, up to `until`, in seconds since the epoch."""
        ...


@dataclass(frozen=True, slots=True)
class CronTimes:
    """A cron expression on the clocks of a zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    #: None: any, since the other kind of days counts
    days: frozenset[int] | None
    months: frozenset[int]
    weekdays: frozenset[int] | None
    years: frozenset[int]
    zone: ZoneInfo

    def between(self, after: float, until: float) -> Iterator[float]:
        day = datetime.fromtimestamp(after, self.zone).date() - timedelta(days=1)
        last = datetime.fromtimestamp(until, self.zone).date() + timedelta(days=1)
        while day <= last:
            if self._has(day):
                yield from (due for due in self._of_day(day) if after < due <= until)
            day += timedelta(days=1)

    def _has(self, day: date) -> bool:
        return (
            day.year in self.years
            and day.month in self.months
            and (self.days is None or day.day in self.days)
            # Monday is 1 in ISO's count, Sunday is in theirs.
            and (self.weekdays is None or day.isoweekday() % 7 + 1 in self.weekdays)
        )

    def _of_day(self, day: date) -> Iterator[float]:
        for hour in sorted(self.hours):
            for minute in sorted(self.minutes):
                wall = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001 - a clock
                instant = wall.replace(tzinfo=self.zone).astimezone(UTC)
                if instant.astimezone(self.zone).replace(tzinfo=None) == wall:
                    yield instant.timestamp()


@dataclass(frozen=True, slots=True)
class RateTimes:
    """The same interval again and again, from a first time on."""

    seconds: int
    first: float

    def between(self, after: float, until: float) -> Iterator[float]:
        number = max(int((after - self.first) // self.seconds) + 1, 0)
        while (due := self.first + number * self.seconds) <= until:
            yield due
            number += 1


@dataclass(frozen=True, slots=True)
class OneTime:
    """Once."""

    at: float

    def between(self, after: float, until: float) -> Iterator[float]:
        if after < self.at <= until:
            yield self.at


def times_of(expression: str, timezone: str, start: float) -> Times:
    """Return when a schedule is due.

    Args:
        expression: Of the schedule.
        timezone: Whose clocks it goes by.
        start: Where a rate begins, in seconds since the epoch.

    Raises:
        ValueError: EventBridge Scheduler would not accept it; the text says why.
        NotImplementedError: It has L, W or #, which the fake does not know.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError("Invalid Schedule Expression Timezone.") from None
    if found := _CRON.match(expression):
        return _cron(found[1].split(), zone)
    if found := _RATE.match(expression):
        if int(found[1]) < 1 or (found[2].endswith("s") != (int(found[1]) > 1)):
            raise ValueError(f"Invalid Schedule Expression {expression}.")
        return RateTimes(int(found[1]) * _SECONDS[found[2].removesuffix("s")], start)
    if found := _AT.match(expression):
        return OneTime(datetime.fromisoformat(found[1]).replace(tzinfo=zone).timestamp())
    raise ValueError(f"Invalid Schedule Expression {expression}.")


def _cron(fields: list[str], zone: ZoneInfo) -> CronTimes:
    if len(fields) != len(_FIELDS):
        raise ValueError("A cron expression has six fields.")
    if (fields[2] == "?") == (fields[4] == "?"):
        raise ValueError("One of day-of-month and day-of-week has to be ?.")
    minutes, hours, days, months, weekdays, years = (
        None if text == "?" else _numbers(text, *field)
        for text, field in zip(fields, _FIELDS, strict=True)
    )
    if minutes is None or hours is None or months is None or years is None:
        raise ValueError("? stands for days alone.")
    return CronTimes(minutes, hours, days, months, weekdays, years, zone)


def _numbers(text: str, low: int, high: int, words: list[str]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        begin = low if span == "*" else _number(first, low, high, words)
        end = high if span == "*" or slash else begin
        if dash:
            end = _number(last, low, high, words)
        if slash and not (step.isdecimal() and int(step)):
            raise ValueError(f"{part} has no step.")
        if begin > end:
            raise ValueError(f"{part} runs backwards.")
        found |= set(range(begin, end + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(text: str, low: int, high: int, words: list[str]) -> int:
    if text.upper() in words:
        return words.index(text.upper()) + 1
    if any(mark in text for mark in "LW#"):
        raise NotImplementedError(f"The fake of scheduler does not know {text}.")
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ValueError(f"{text!r} is no number from {low} to {high}.")
    return int(text)
