"""What `schedule=` and `scaling=` accept, checked where the function is declared. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.model.schedule import Cron, Period, ScaleAt


def check_schedule(function: Callable[..., Any], schedule: Any, *, is_generator: bool) -> None:
    """Raise InvalidError unless a function can be run by a schedule."""
    if not isinstance(schedule, Cron | Period):
        hint = "Write schedule=cloudfn.Period(hours=1) or schedule=cloudfn.Cron('0 6 * * *')."
        if isinstance(schedule, str):
            hint = f"Write schedule=cloudfn.Cron({schedule!r})."
        raise InvalidError(f"`schedule` must be a Cron or a Period, not {schedule!r}.", hint=hint)
    name = function.__qualname__
    if is_generator:
        raise InvalidError(
            f"{name} has a schedule, and yields: nobody would take what it yields.",
            hint="Schedule a function that consumes it.",
        )
    if _needed_arguments(function):
        raise InvalidError(
            f"{name} has a schedule, so it needs to support being called with no arguments.",
            hint=f"Give defaults to: {', '.join(_needed_arguments(function))}.",
        )


def declared_scaling(scaling: Any) -> tuple[ScaleAt, ...]:
    """Return what a decorator's `scaling=` means; raises InvalidError for anything but ScaleAts."""
    changes = (scaling,) if isinstance(scaling, ScaleAt) else tuple(scaling or ())
    for change in changes:
        if not isinstance(change, ScaleAt):
            raise InvalidError(
                f"`scaling` must be a list of ScaleAt, not of {change!r}.",
                hint="Write scaling=[cloudfn.ScaleAt('0 6 * * *', min_containers=4)].",
            )
    return changes


def _needed_arguments(function: Callable[..., Any]) -> list[str]:
    """Return the names of parameters that have no default."""
    code = function.__code__
    defaults = len(function.__defaults__ or ())
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    given = function.__kwdefaults__ or {}
    needed = list(code.co_varnames[: code.co_argcount - defaults])
    return needed + [name for name in keywords if name not in given]
