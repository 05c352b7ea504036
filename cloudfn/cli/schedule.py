"""`cloudfn schedule`: list, pause, resume, run-now, history, next, scale, remove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from cloudfn import errors
from cloudfn.cli import moments, terminal
from cloudfn.cli.app import resolve_function
from cloudfn.cli.options import (
    AppArgument,
    EnvironmentOption,
    FunctionArgument,
    JsonOption,
    command_group,
    complete_app,
    complete_function,
)
from cloudfn.cli.session import Session, session_of

_KEYS = (
    "schedule_id",
    "app_name",
    "app_id",
    "function_name",
    "kind",
    "when",
    "timezone",
    "overlap",
    "changes",
    "paused",
    "dynamic",
    "next",
    "last",
)
_FIRE_KEYS = ("schedule_id", "due", "at", "call_id", "late", "manual", "outcome")

TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="APP|ID", help="Name of an app, or id of a schedule.", autocompletion=complete_app
    ),
]
TargetFunctionArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="FUNCTION",
        help="Name of a function of the app.",
        autocompletion=complete_function,
        show_default=False,
    ),
]


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group("Look after what runs by itself.")
    app.command("list")(list_schedules)
    app.command("pause")(pause)
    app.command("resume")(resume)
    app.command("run-now")(run_now)
    app.command("history")(history)
    app.command("next")(show_next)
    app.command("scale")(scale)
    app.command("remove")(remove)
    return app


def list_schedules(
    context: typer.Context,
    app: Annotated[
        str | None, typer.Option(help="Only of this app.", autocompletion=complete_app)
    ] = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """List the schedules of live apps."""
    session = session_of(context, env)
    found = session.request("schedule_list", app=app)["schedules"]
    schedules = terminal.choose_keys(found, _KEYS)
    now = session.host.clock.wall()
    terminal.print_listing(
        schedules,
        ("ID", "APP", "FUNCTION", "WHEN", "DOES", "NEXT", "LAST"),
        lambda each: (
            each["schedule_id"],
            each["app_name"],
            each["function_name"],
            _when(each),
            _does(each),
            _next(each, now),
            _last(each["last"], now),
        ),
        as_json=as_json,
        empty="There are no schedules. `@app.function(schedule=…)` makes one.",
    )


def pause(
    context: typer.Context,
    app: TargetArgument,
    function: TargetFunctionArgument = None,
    env: EnvironmentOption = None,
) -> None:
    """Let schedules rest until `resume`; what is due meanwhile is left out."""
    _set_paused(session_of(context, env), app, function, paused=True)


def resume(
    context: typer.Context,
    app: TargetArgument,
    function: TargetFunctionArgument = None,
    env: EnvironmentOption = None,
) -> None:
    """Let paused schedules go on."""
    _set_paused(session_of(context, env), app, function, paused=False)


def run_now(
    context: typer.Context,
    app: TargetArgument,
    function: TargetFunctionArgument = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Run a scheduled function at once, or apply settings; the times that follow stay."""
    session = session_of(context, env)
    schedule = _one(session, app, function)
    fire = session.request("schedule_run", schedule=schedule["schedule_id"])
    if as_json:
        terminal.print_json({key: fire.get(key) for key in _FIRE_KEYS})
    elif fire["call_id"]:
        terminal.say(f"✓ Call {fire['call_id']} is made; `cloudfn call get` waits for it.")
    else:
        terminal.say(f"✓ {_does(schedule)} is in force.")


def history(
    context: typer.Context,
    app: TargetArgument,
    function: TargetFunctionArgument = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many, the newest first.")
    ] = 20,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show when a schedule fired, and what came of it; the newest first."""
    session = session_of(context, env)
    schedule = _one(session, app, function)
    reply = session.request("schedule_history", schedule=schedule["schedule_id"], limit=limit)
    fires = terminal.choose_keys(reply["fires"], _FIRE_KEYS)
    terminal.print_listing(
        fires,
        ("DUE", "FIRED", "CALL", "OUTCOME"),
        lambda fire: (
            "by hand" if fire["manual"] else _in_zone(fire["due"], schedule["timezone"]),
            f"{moments.stamp(fire['at'])}{' (late)' if fire['late'] else ''}",
            fire["call_id"] or None,
            fire["outcome"] or "running",
        ),
        as_json=as_json,
        empty="It has not fired yet.",
    )


def show_next(
    context: typer.Context,
    app: TargetArgument,
    function: TargetFunctionArgument = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many.")] = 5,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show when a schedule is due next, in its time zone and in local time."""
    session = session_of(context, env)
    schedule = _one(session, app, function)
    asked = {"schedule": schedule["schedule_id"], "count": count}
    times = session.request("schedule_next", **asked)["times"]
    zone = schedule["timezone"]
    if as_json:
        terminal.print_json(
            [
                {"due": due, "in_zone": _in_zone(due, zone), "local": moments.stamp(due)}
                for due in times
            ]
        )
        return
    if schedule["paused"]:
        terminal.say("It is paused: this is when it would be due.")
    now = session.host.clock.wall()
    terminal.print_table(
        (zone, "LOCAL", "IN"),
        [(_in_zone(due, zone), moments.stamp(due), moments.span(due - now)) for due in times],
        empty="It is never due again.",
    )


def scale(
    context: typer.Context,
    app: AppArgument,
    function: FunctionArgument,
    cron: Annotated[str, typer.Option(metavar="EXPRESSION", help="When, as '0 6 * * MON-FRI'.")],
    timezone: Annotated[
        str, typer.Option("--timezone", "--tz", metavar="NAME", help="As America/New_York.")
    ] = "UTC",
    min_containers: Annotated[
        int | None, typer.Option(min=0, help="Containers that are always kept.")
    ] = None,
    max_containers: Annotated[int | None, typer.Option(min=1, help="Containers at most.")] = None,
    buffer_containers: Annotated[
        int | None, typer.Option(min=0, help="Idle containers beside the busy ones.")
    ] = None,
    scaledown_window: Annotated[
        int | None, typer.Option(min=2, max=3600, help="Seconds that idle containers are kept.")
    ] = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Change a function's scaling by the time of day, until the next deploy that changes it."""
    given = {
        "min_containers": min_containers,
        "max_containers": max_containers,
        "buffer_containers": buffer_containers,
        "scaledown_window": scaledown_window,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise typer.BadParameter("Say what to change, for example --min-containers 4.")
    session = session_of(context, env)
    found = resolve_function(session, app, function)
    rule = {"cron_string": cron, "timezone": timezone, **changes}
    schedule = session.request("schedule_scale", function_id=found["function_id"], rule=rule)
    if as_json:
        terminal.print_json({key: schedule.get(key) for key in _KEYS})
        return
    terminal.say(
        f"✓ Schedule {schedule['schedule_id']}: {_does(schedule)} for {app}/{function}, next at "
        f"{_in_zone(schedule['next'], timezone)}."
    )


def remove(
    context: typer.Context,
    schedule: Annotated[
        str, typer.Argument(metavar="ID", help="Id of a schedule that `scale` made.")
    ],
    env: EnvironmentOption = None,
) -> None:
    """Remove a schedule that `scale` made; the settings that it made stay."""
    session = session_of(context, env)
    session.request("schedule_remove", schedule=schedule)
    terminal.say(f"✓ Schedule {schedule} is removed.")


def _set_paused(session: Session, app: str, function: str | None, *, paused: bool) -> None:
    found = _matching(session, app, function)
    ids = [each["schedule_id"] for each in found]
    session.request("schedule_pause", schedules=ids, paused=paused)
    state = "paused" if paused else "active"
    for each in found:
        terminal.say(
            f"✓ Schedule {each['schedule_id']} of {each['app_name']}/{each['function_name']} is "
            f"{state}."
        )


def _matching(session: Session, app: str, function: str | None) -> list[dict[str, Any]]:
    """Return the schedules that are meant; raises NotFoundError where there is none."""
    if function is None:
        every: Sequence[dict[str, Any]] = session.request("schedule_list")["schedules"]
        found = [each for each in every if each["schedule_id"] == app]
    else:
        reply = session.request("schedule_list", app=app, function=function)
        found = list(reply["schedules"])
    if not found:
        what = f"schedule {app!r}" if function is None else f"schedule of {app}/{function}"
        hint = "See `cloudfn schedule list`; name APP FUNCTION, or the id of a schedule."
        raise errors.NotFoundError(f"There is no {what}.", hint=hint)
    return found


def _one(session: Session, app: str, function: str | None) -> dict[str, Any]:
    """Return the schedule that is meant: of a function, the one that runs it, if any."""
    found = _matching(session, app, function)
    chosen = [each for each in found if each["kind"] != "scaleat"] or found
    if len(chosen) > 1:
        ids = ", ".join(each["schedule_id"] for each in chosen)
        raise errors.InvalidError(
            f"{app}/{function} has several schedules.", hint=f"Name one by its id: {ids}."
        )
    return chosen[0]


def _when(schedule: Mapping[str, Any]) -> str:
    zone = "" if schedule["kind"] == "period" else f" {schedule['timezone']}"
    return f"{schedule['when']}{zone}"


def _does(schedule: Mapping[str, Any]) -> str:
    if schedule["kind"] != "scaleat":
        return "call"
    return " ".join(f"{name}={value}" for name, value in schedule["changes"].items())


def _next(schedule: Mapping[str, Any], now: float) -> str:
    if schedule["paused"]:
        return "paused"
    if schedule["next"] is None:
        return "never"
    return f"in {moments.span(schedule['next'] - now)}"


def _last(fire: Mapping[str, Any] | None, now: float) -> str | None:
    if fire is None:
        return None
    late = ", late" if fire["late"] else ""
    return f"{moments.ago(fire['at'], now)}{late}: {fire['outcome'] or 'running'}"


def _in_zone(moment: float | None, zone: str) -> str:
    if moment is None:
        return "never"
    try:
        where: Any = ZoneInfo(zone)
    except (LookupError, ValueError, OSError):  # this machine has no time zones
        where = UTC
    return datetime.fromtimestamp(moment, where).isoformat(sep=" ", timespec="milliseconds")
