"""When the inputs of a spawned call may begin and must have, and who goes first. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cloudfn.errors import InvalidError

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    #: seconds from now, or a moment
    Moment = float | timedelta | datetime

PRIORITY_RANGE = (-10, 10)
#: the arguments of `spawn` that become terms
NAMES = ("delay", "priority", "deadline")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a call asks for beyond being run; times are seconds since the epoch."""

    #: no input begins before
    not_before: float = 0.0
    #: no input begins after, nor goes on; None: any time
    deadline: float | None = None
    #: higher goes first
    priority: int = 0

    @property
    def timed(self) -> bool:
        """Whether time has anything to do with it."""
        return bool(self.not_before) or self.deadline is not None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Terms:
        """Return the terms that `to_json` wrote."""
        deadline = data.get("deadline")
        return cls(
            float(data.get("not_before") or 0.0),
            None if deadline is None else float(deadline),
            int(data.get("priority") or 0),
        )


def terms_of(
    now: float,
    *,
    delay: Moment | None = None,
    priority: int | None = None,
    deadline: Moment | None = None,
) -> Terms:
    """Return the terms that the arguments of a spawn mean.

    Args:
        now: Seconds since the epoch.
        delay: Seconds or a timedelta from now, or an aware datetime, before which nothing begins.
        priority: A whole number, -10 to 10; higher goes first.
        deadline: Like `delay`: what has not ended by then does not begin or go on any more.

    Raises:
        InvalidError: A value is none of these, or the deadline is before the delay.
    """
    if priority is None:
        priority = 0
    low, high = PRIORITY_RANGE
    if isinstance(priority, bool) or not isinstance(priority, int) or not low <= priority <= high:
        raise InvalidError(
            f"`priority` must be a whole number from {low} to {high}, not {priority!r}.",
            hint="Higher goes first; the default is 0.",
        )
    begin = 0.0 if delay is None else _moment("delay", delay, now)
    end = None if deadline is None else _moment("deadline", deadline, now)
    if end is not None and end <= max(begin, now):
        raise InvalidError(
            "`deadline` is over before the call may begin.",
            hint="Give a later `deadline`, or a shorter `delay`.",
        )
    return Terms(begin if begin > now else 0.0, end, priority)


def _moment(name: str, value: Any, now: float) -> float:
    """Return seconds since the epoch."""
    seconds = getattr(value, "total_seconds", None)
    if seconds is not None:
        value = seconds()
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 0 <= value < float("inf"):
            return now + value
        raise InvalidError(f"`{name}` must be a number of seconds from now, not {value!r}.")
    timestamp = getattr(value, "timestamp", None)
    if timestamp is None:
        raise InvalidError(
            f"`{name}` must be seconds, a timedelta or a datetime, not {value!r}.",
        )
    if value.tzinfo is None:
        raise InvalidError(
            f"`{name}` is a datetime without a time zone: {value!r}.",
            hint="Say which one: `datetime.now(timezone.utc) + timedelta(hours=1)`.",
        )
    return float(timestamp())
