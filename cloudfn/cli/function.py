"""`cloudfn function`: info, stats, calls, logs, autoscaler; names a function as APP/FUNCTION."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cloudfn.cli import autoscaler, call, moments, terminal
from cloudfn.cli import stats as stats_command
from cloudfn.cli.app import resolve_function
from cloudfn.cli.options import EnvironmentOption, FunctionRefArgument, JsonOption, command_group
from cloudfn.cli.session import Session, session_of


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group("Look after functions.")
    app.command("info")(info)
    app.command("stats")(stats)
    app.command("calls")(calls)
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
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """List a function's calls, the newest first."""
    session = session_of(context, env)
    found = _found(session, function)
    call.show_calls(
        session, as_json=as_json, limit=tail, app=found["app_id"], function=found["name"]
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
