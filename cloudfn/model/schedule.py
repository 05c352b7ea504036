"""When a function is due by itself: `Cron`, `Period`, and `ScaleAt` for settings. Pure.

Everything is checked on construction, which also happens inside containers: the standard library
suffices. What these values mean as times is computed in `control.schedules`.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, asdict, dataclass, fields, replace
from datetime import timedelta
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.model.cron import check_cron

#: seconds; shorter ones would keep the daemon busy with nothing else
SHORTEST_PERIOD = 0.1
#: 100 years, of months that are as long as they can be
LONGEST_PERIOD = timedelta(days=31) * 1200
_WHOLE = ("years", "months", "weeks", "days", "hours", "minutes")
#: names suggested for one that is unknown
_SUGGESTIONS = 3


@dataclass(frozen=True, slots=True)
class Cron:
    """Run at the times that a cron expression names, on the clocks of a time zone.

    A wall time that the change to summer time skips is skipped; one that the change back repeats
    runs once, the first time. Both kinds of days given: due on days that match either.

    Args:
        cron_string: Minute, hour, day of the month, month, day of the week; with lists, ranges,
            steps, names (`MON`, `JAN`), `L` and `#`.
        timezone: A name of the IANA database, such as "America/New_York".
        overlap: Run although the run before has not finished; otherwise that time is left out.

    Raises:
        InvalidError: The expression or the zone makes no sense; the text says which part.
        TypeError: A value is of another type.
    """

    cron_string: str
    timezone: str = "UTC"
    _: KW_ONLY
    overlap: bool = True

    def __post_init__(self) -> None:
        _check_type("Cron()", "cron_string", self.cron_string, str)
        _check_type("Cron()", "timezone", self.timezone, str)
        _check_type("Cron()", "overlap", self.overlap, bool)
        check_cron(self.cron_string)
        _check_zone(self.timezone)

    def __str__(self) -> str:
        return f"{self.cron_string} {self.timezone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Run again and again, for the first time one period after the deploy.

    Run n is due n periods after the deploy that brought the schedule or changed it; nothing adds
    up. Months and years are the calendar's (in UTC): a day that a month does not have is its last.

    Args:
        years: Whole number, as all but the seconds.
        months: Calendar months.
        weeks: Of seven days.
        days: Of 24 hours.
        hours: Of 60 minutes.
        minutes: Of 60 seconds.
        seconds: May be a fraction.
        overlap: Run although the run before has not finished; otherwise that time is left out.

    Raises:
        InvalidError: It is negative, shorter than 0.1 s or longer than 100 years.
        TypeError: A number is of another type, or an argument is given by position.
    """

    years: int = 0
    months: int = 0
    weeks: int = 0
    days: int = 0
    hours: int = 0
    minutes: int = 0
    seconds: float = 0
    overlap: bool = True

    def __post_init__(self) -> None:
        _check_type("Period()", "overlap", self.overlap, bool)
        for name in _WHOLE:
            _check_type("Period()", name, getattr(self, name), int)
        _check_type("Period()", "seconds", self.seconds, int, float)
        for name in (*_WHOLE, "seconds"):
            # Written so that NaN fails as well.
            if not getattr(self, name) >= 0:
                raise InvalidError(
                    f"Invalid Period: `{name}` must be at least 0, not {getattr(self, name)}."
                )
        length = self._length()
        if length is None or length > LONGEST_PERIOD:
            raise InvalidError("Invalid Period: it is longer than 100 years.")
        if length < timedelta(seconds=SHORTEST_PERIOD):
            what = "shorter than 0.1 seconds" if length else "empty"
            raise InvalidError(
                f"Invalid Period: it is {what}.", hint="Write for example Period(minutes=5)."
            )

    @property
    def calendar_months(self) -> int:
        """Its years and months, whose length depends on the calendar."""
        return 12 * self.years + self.months

    @property
    def fixed(self) -> timedelta:
        """The rest of it, whose length is always the same."""
        return timedelta(
            weeks=self.weeks,
            days=self.days,
            hours=self.hours,
            minutes=self.minutes,
            seconds=self.seconds,
        )

    def _length(self) -> timedelta | None:
        """Return how long it is at most; None where that is beyond all bounds."""
        try:
            return self.fixed + timedelta(days=31) * self.calendar_months
        except OverflowError:
            return None

    def __str__(self) -> str:
        parts = [(name, getattr(self, name)) for name in (*_WHOLE, "seconds")]
        named = [f"{n:g} {name if n != 1 else name[:-1]}" for name, n in parts if n]
        return f"every {' '.join(named)}"


@dataclass(frozen=True, slots=True)
class ScaleAt:
    """Change a function's autoscaler settings at the times that a cron expression names.

    The change is an override, as by `update_autoscaler`: whoever writes last wins. After a deploy
    the settings that should be in force by now are applied at once.

    Args:
        cron_string: As for `Cron`.
        timezone: As for `Cron`.
        min_containers: As for `update_autoscaler`, as all that follow; None leaves it as it is.
        max_containers: Containers at most.
        buffer_containers: Idle containers beside the busy ones.
        scaledown_window: Seconds that idle containers are kept.

    Raises:
        InvalidError: The expression, the zone or the settings make no sense, or there are none.
        TypeError: A value is of another type.
    """

    cron_string: str
    _: KW_ONLY
    timezone: str = "UTC"
    min_containers: int | None = None
    max_containers: int | None = None
    buffer_containers: int | None = None
    scaledown_window: int | None = None

    def __post_init__(self) -> None:
        # That module needs this one for the fields of a function.
        from cloudfn.model.function import AutoscalerSettings

        Cron(self.cron_string, self.timezone)
        if not self.changes:
            raise InvalidError(
                f"ScaleAt({self.cron_string!r}) changes nothing.",
                hint="Give it a setting, for example min_containers=4.",
            )
        AutoscalerSettings().merged(self.changes)

    @property
    def cron(self) -> Cron:
        """When it is due."""
        return Cron(self.cron_string, self.timezone)

    @property
    def changes(self) -> dict[str, int | None]:
        """The settings that it sets."""
        names = ("min_containers", "max_containers", "buffer_containers", "scaledown_window")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None}

    def __str__(self) -> str:
        return str(self.cron)


#: what can be due
Rule = Cron | Period | ScaleAt


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """Return plain data for `rule_from_json`."""
    return asdict(rule)


def rule_from_json(data: dict[str, Any]) -> Rule:
    """Return the rule that `rule_to_json` wrote; unknown fields of a newer writer are ignored.

    It is not checked again, and `check_rule` does that: a time zone that this machine does not know
    any more must not keep what is stored from being read.
    """
    kind: type[Rule] = Period
    if "cron_string" in data:
        kind = ScaleAt if "min_containers" in data else Cron
    rule = object.__new__(kind)
    for each in fields(kind):
        object.__setattr__(rule, each.name, data.get(each.name, each.default))
    return rule


def check_rule(rule: Rule) -> None:
    """Raise what the construction of a rule raises that makes no sense."""
    replace(rule)


def _check_type(what: str, name: str, value: object, *kinds: type) -> None:
    if (isinstance(value, bool) and bool not in kinds) or not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{what}: `{name}` must be {wanted}, not {type(value).__name__}")


def _check_zone(name: str) -> None:
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        known = available_timezones()
        # An image may have no time zones at all; then the engine, which computes times, checks.
        if known:
            raise InvalidError(
                f"There is no time zone {name!r}.", hint=_suggestion(name, known)
            ) from None


def _suggestion(name: str, known: set[str]) -> str:
    from difflib import get_close_matches

    wanted = name.casefold().replace(" ", "_")
    by_text: dict[str, str] = {}
    for zone in sorted(known):
        by_text.setdefault(zone.casefold().rpartition("/")[2], zone)
        by_text[zone.casefold()] = zone
    near = get_close_matches(wanted, by_text, n=_SUGGESTIONS, cutoff=0.7)
    if not near:
        return 'Use a name of the IANA database, such as "America/New_York" or "UTC".'
    return f"Did you mean {' or '.join(dict.fromkeys(by_text[each] for each in near))}?"
