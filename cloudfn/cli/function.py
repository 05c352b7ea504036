"""`cloudfn function`: info, logs, stats, calls, variants, autoscaler of APP/FUNCTION."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cloudfn.cli import autoscaler, call, logs, moments, terminal
from cloudfn.cli import stats as stats_command
from cloudfn.cli.app import resolve_function
from cloudfn.cli.options import EnvironmentOption, FunctionRefArgument, JsonOption, command_group
from cloudfn.cli.session import Session, session_of
from cloudfn.model.cls import shown_name

_VARIANT_KEYS = ("function_id", "name", "parameters", "options", "settings", "stats")


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group("Look after functions.")
    app.command("info")(info)
    app.command("logs")(show_logs)
    app.command("stats")(stats)
    app.command("calls")(calls)
    app.command("variants")(variants)
    scaling = command_group("See and change how a function scales.")
    scaling.command("settings")(settings)
    scaling.command("update")(update)
    app.add_typer(scaling, name="autoscaler")
    return app


def info(
    context: typer.Context,
    function: FunctionRefArgument,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show what the engine knows of a function."""
    found = _found(session_of(context, env), function)
    facts = {key: found[key] for key in ("function_id", "name", "app_name", "app_id", "revision")}
    definition = {k: v for k, v in found["spec"].items() if k not in ("name", "serialized")}
    if as_json:
        terminal.print_json({**facts, "definition": definition})
        return
    rows = [*facts.items(), *((k, v) for k, v in definition.items() if v not in (None, {}, []))]
    terminal.print_table(("FACT", "VALUE"), rows, empty="")


def show_logs(
    context: typer.Context,
    function: FunctionRefArgument,
    follow: logs.FollowOption = False,
    since: logs.SinceOption = None,
    until: logs.UntilOption = None,
    tail: logs.TailOption = None,
    search: logs.SearchOption = None,
    call: logs.CallOption = None,
    container: logs.ContainerOption = None,
    source: logs.SourceOption = None,
    timestamps: logs.TimestampsOption = False,
    show_call_id: logs.ShowCallOption = False,
    show_container_id: logs.ShowContainerOption = False,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show a function's output: the last 100 entries, a range of time, or what comes.

    That of its variants is among it.
    """
    session = session_of(context, env)
    found = _found(session, function)
    request = logs.LogRequest(
        follow=follow,
        since=since,
        until=until,
        tail=tail,
        search=search,
        source=source,
        scope={
            "app": found["app_id"],
            "function": shown_name(found["name"]),
            "call": call,
            "container": container,
        },
    )
    margin = logs.Margin(timestamps, calls=show_call_id, containers=show_container_id)
    logs.print_logs(session, request, margin, as_json=as_json)


def stats(
    context: typer.Context,
    function: FunctionRefArgument,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show waiting and running inputs and the containers of a function."""
    session = session_of(context, env)
    stats_command.show(session, [_found(session, function)["function_id"]], as_json=as_json)


def calls(
    context: typer.Context,
    function: FunctionRefArgument,
    tail: Annotated[
        int, typer.Option("--tail", "-n", min=1, max=1000, help="How many, newest first.")
    ] = 10,
    since: logs.SinceOption = None,
    until: logs.UntilOption = None,
    all_variants: Annotated[
        bool,
        typer.Option("--all-variants", help="Those of its parameter sets and options as well."),
    ] = False,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """List a function's calls, the newest first."""
    session = session_of(context, env)
    first, last = logs.bounds(since, until, session.host.clock.wall())
    call.show_calls(
        session,
        as_json=as_json,
        limit=tail,
        function_id=_found(session, function)["function_id"],
        variants=all_variants,
        since=first,
        until=last,
    )


def variants(
    context: typer.Context,
    function: FunctionRefArgument,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many, the newest first.")
    ] = 200,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """List a function's parameter sets and changed options, with their settings and containers."""
    session = session_of(context, env)
    function_id = _found(session, function)["function_id"]
    reply = session.request("function_variants", function_id=function_id, limit=limit)
    terminal.print_listing(
        terminal.choose_keys(reply["variants"], _VARIANT_KEYS),
        ("VARIANT", "ID", "MIN", "MAX", "BUFFER", "WINDOW", "CONTAINERS", "WAITING", "RUNNING"),
        _variant_row,
        as_json=as_json,
        empty=f"{function} has no variants. Instances with parameters and with_options make some.",
    )


def _variant_row(variant: dict[str, Any]) -> tuple[object, ...]:
    settings, figures = variant["settings"], variant["stats"]
    # One that does not fit what is deployed now has no settings.
    shown = autoscaler.shown_settings(settings) if settings else dict.fromkeys(autoscaler.KEYS)
    return (
        variant["name"],
        variant["function_id"],
        *(shown[key] for key in autoscaler.KEYS),
        figures["num_total_runners"],
        figures["backlog"],
        figures["num_running_inputs"],
    )


def settings(
    context: typer.Context,
    function: FunctionRefArgument,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show the settings in force, and which of them were changed without a deploy."""
    session = session_of(context, env)
    found = _found(session, function)
    told = session.request("settings_get", function_id=autoscaler.scaled_id(session, found))
    if as_json:
        kept = ("settings", "overrides", "updated", "updated_by")
        terminal.print_json({key: told.get(key) for key in kept})
        return
    when = moments.ago(told.get("updated"), session.host.clock.wall())
    terminal.print_table(
        ("SETTING", "VALUE", "CHANGED", "BY"),
        [
            (key, value, when, told.get("updated_by"))
            if key in told["overrides"]
            else (key, value, None, None)
            for key, value in autoscaler.shown_settings(told["settings"]).items()
        ],
        empty="",
    )


def update(
    context: typer.Context,
    function: FunctionRefArgument,
    min_containers: autoscaler.MinOption = None,
    max_containers: autoscaler.MaxOption = None,
    buffer_containers: autoscaler.BufferOption = None,
    scaledown_window: autoscaler.WindowOption = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Change a function's scaling at once; what is not named stays, the next deploy resets it."""
    changes = autoscaler.changes_of(
        min_containers, max_containers, buffer_containers, scaledown_window
    )
    session = session_of(context, env)
    found = _found(session, function)
    autoscaler.carry_out(
        session, function, autoscaler.scaled_id(session, found), changes, as_json=as_json
    )


def _found(session: Session, ref: str) -> dict[str, Any]:
    """Return what the engine knows of APP/FUNCTION or fu-…; BadParameter for anything else."""
    if ref.startswith("fu-"):
        return session.request("function_lookup", function_id=ref)
    app, slash, name = ref.partition("/")
    if not slash or not app or not name:
        raise typer.BadParameter(f"{ref!r} is neither APP/FUNCTION nor an id as fu-….")
    return resolve_function(session, app, name)
