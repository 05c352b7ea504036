"""The text of a cron expression: which are accepted, and what is wrong with the others. Pure.

Five fields as in `crontab(5)`, with names of months and days, `L` and `#`. When one is due is
computed in `control.schedules`; here it is only read, with the standard library alone, because
user code declares schedules inside containers too.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloudfn.errors import InvalidError

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
#: the most days that a month can have, January first
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = ("*", "?")


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the five fields: its name, its numbers, and words for them."""

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()
    #: what the first word stands for
    first: int = 0
    #: `?` may stand for `*`
    optional: bool = False
    #: number after which the first one comes again under another name
    last: int | None = None


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31, optional=True),
    _Field("month", 1, 12, _MONTHS, 1),
    _Field("day of the week", 0, 7, _DAYS, optional=True, last=6),
)


def check_cron(text: str) -> None:
    """Raise InvalidError, naming the field, unless `text` is a cron expression that can be due."""
    _, _, days, months, _ = field_numbers(text)
    if text.split()[4] in _EVERY and not days_exist(days, months):
        raise _wrong(
            text, "none of its months has such a day", "Use L for the last day of a month."
        )


def field_numbers(text: str) -> list[set[int]]:
    """Return the numbers that each of the five fields names, with 0 and 7 for Sundays.

    What L and # stand for depends on the month: L as a day of the month is 28 here, a day of the
    week that L or # chooses is every such day.

    Raises:
        InvalidError: A field makes no sense; the text names it.
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise _wrong(text, *_how_many(text, len(fields)))
    return [_Reader(text, field).values(part) for field, part in zip(_FIELDS, fields, strict=True)]


def days_exist(days: set[int], months: set[int]) -> bool:
    """Whether one of some months can have one of some days."""
    return any(day <= _LENGTHS[month - 1] for day in days for month in months)


def split_days(text: str) -> list[str]:
    """Return expressions that together are due when `text` is, none with both kinds of days.

    As in Unix, an expression that restricts the day of the month and the day of the week is due on
    days that match either.
    """
    minute, hour, day, month, weekday = text.split()
    if day in _EVERY or weekday in _EVERY:
        return [text]
    return [f"{minute} {hour} {day} {month} *", f"{minute} {hour} * {month} {weekday}"]


class _Reader:
    """Reads one field; what is wrong is told with the whole expression."""

    def __init__(self, text: str, field: _Field) -> None:
        self._text = text
        self._field = field

    def values(self, part: str) -> set[int]:
        """Return the numbers that a field names."""
        field = self._field
        if part == "?" and field.optional:
            part = "*"
        elements = part.split(",")
        ordinal = ["#" in each or each[:1] in "Ll" for each in elements]
        if field.name == "day of the week" and any(ordinal):
            if not all(ordinal):
                raise self._wrong(
                    f"{part!r} mixes plain days with L or #", "Declare two schedules instead."
                )
            return {self._ordinal(each) for each in elements}
        return set().union(*map(self._element, elements))

    def _element(self, element: str) -> set[int]:
        field = self._field
        if element in ("L", "l") and field.name == "day of the month":
            return {28}  # there is one in every month
        span, slash, step_text = element.partition("/")
        low_text, dash, high_text = span.partition("-")
        if span == "*":
            low, high = field.low, field.high
        elif slash and not dash:
            high = field.high if field.last is None else field.last
            low = self._number(low_text, element) % (high + 1)
        else:
            low = self._number(low_text, element)
            high = self._number(high_text, element) if dash else low
        if dash and (low == high or (low, high) == (7, 0)):
            raise self._wrong(f"{element!r} is a range of one", f"Write {low_text}.")
        step = self._step(step_text, element) if slash else 1
        if low <= high:
            return set(range(low, high + 1, step))
        if slash:
            raise self._wrong(f"{element!r} runs past the end with a step", "Write two ranges.")
        return {*range(low, field.high + 1), *range(field.low, high + 1)}

    def _ordinal(self, element: str) -> int:
        """Read `FRI#2`, the second Friday of a month, or `L5`, its last one."""
        if element[:1] in "Ll" and element[1:].isdigit():
            return self._number(element[1:], element)
        day, _, which = element.partition("#")
        if which not in ("1", "2", "3", "4", "5"):
            raise self._wrong(
                f"{element!r} is no day", "Write FRI#2 for the second Friday, L5 for the last one."
            )
        return self._number(day, element)

    def _number(self, text: str, element: str) -> int:
        field = self._field
        word = text.upper()
        if word in field.words:
            return field.words.index(word) + field.first
        if not (text.isascii() and text.isdigit()):
            known = f" or {field.words[0]}-{field.words[-1]}" if field.words else ""
            raise self._wrong(f"{element!r} is not understood", f"Use {self._range()}{known}.")
        number = int(text)
        if not field.low <= number <= field.high:
            raise self._wrong(f"{number} is out of range", f"Use {self._range()}.")
        return number

    def _step(self, text: str, element: str) -> int:
        most = self._field.high - self._field.low + 1
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= most:
            raise self._wrong(f"the step of {element!r} is not understood", f"Use 1 to {most}.")
        return int(text)

    def _range(self) -> str:
        return f"{self._field.low} to {self._field.high}"

    def _wrong(self, what: str, hint: str) -> InvalidError:
        return _wrong(self._text, f"{self._field.name}: {what}", hint)


def _how_many(text: str, count: int) -> tuple[str, str]:
    if text.strip() in _ALIASES:
        return f"{text.strip()} is no cron expression here", f"Write {_ALIASES[text.strip()]!r}."
    hint = "minute, hour, day of the month, month, day of the week, as in '0 6 * * MON-FRI'."
    if count == len(_FIELDS) + 1:
        hint += " For less than a minute use cloudfn.Period(seconds=…)."
    return f"it has {count} field{'s'[: count != 1]} instead of 5", f"They are {hint}"


def _wrong(text: str, what: str, hint: str) -> InvalidError:
    return InvalidError(f"Invalid cron expression {text!r}: {what}.", hint=hint)
