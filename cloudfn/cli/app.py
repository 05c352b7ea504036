"""`cloudfn app`: list, logs, stop, history, rollback."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cloudfn import errors
from cloudfn.cli import logs, moments, objects, terminal
from cloudfn.cli.options import (
    AppArgument,
    EnvironmentOption,
    JsonOption,
    StrategyOption,
    YesOption,
    check_strategy,
    command_group,
    complete_function,
)
from cloudfn.cli.session import Session, session_of
from cloudfn.model.cls import function_name

_APP_KEYS = (
    "app_id",
    "name",
    "state",
    "revision",
    "created",
    "stopped",
    "containers",
    "functions",
    "urls",
    "tags",
)
_REVISION_KEYS = ("number", "created", "live", "rollback_of", "labels")


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group("Look after apps.")
    app.command("list")(list_apps)
    app.command("logs")(show_logs)
    app.command("stop")(stop)
    app.command("history")(history)
    app.command("rollback")(rollback)
    app.command("rollover")(rollover)
    app.command("info")(info)
    app.command("stats")(stats)
    return app


def list_apps(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Stopped apps too.")] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="How many, the newest first; all when omitted."),
    ] = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """List the apps of the environment."""
    session = session_of(context, env)
    found = session.request("app_list", all=everything)["apps"]
    apps = terminal.choose_keys(found[:limit], _APP_KEYS)
    now = session.host.clock.wall()
    terminal.print_listing(
        apps,
        ("NAME", "ID", "STATE", "REVISION", "CONTAINERS", "CREATED", "STOPPED"),
        lambda app: (
            app["name"],
            app["app_id"],
            app["state"],
            _version(app["revision"]),
            app["containers"],
            moments.ago(app["created"], now),
            moments.ago(app["stopped"], now),
        ),
        as_json=as_json,
        empty="There are no apps. `cloudfn deploy FILE` makes one.",
    )


def show_logs(
    context: typer.Context,
    app: AppArgument,
    follow: logs.FollowOption = False,
    since: logs.SinceOption = None,
    until: logs.UntilOption = None,
    tail: logs.TailOption = None,
    search: logs.SearchOption = None,
    function: Annotated[
        str | None,
        typer.Option(help="Only of this function.", autocompletion=complete_function),
    ] = None,
    call: logs.CallOption = None,
    container: logs.ContainerOption = None,
    source: logs.SourceOption = None,
    timestamps: logs.TimestampsOption = False,
    show_function_id: logs.ShowFunctionOption = False,
    show_call_id: logs.ShowCallOption = False,
    show_container_id: logs.ShowContainerOption = False,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show an app's output: the last 100 entries, a range of time, or what comes."""
    session = session_of(context, env)
    request = logs.LogRequest(
        follow=follow,
        since=since,
        until=until,
        tail=tail,
        search=search,
        source=source,
        scope={"app": app, "function": function, "call": call, "container": container},
    )
    margin = logs.Margin(
        timestamps,
        _function_ids(session, app) if show_function_id else None,
        calls=show_call_id,
        containers=show_container_id,
    )
    logs.print_logs(session, request, margin, as_json=as_json)


def stop(
    context: typer.Context,
    app: AppArgument,
    yes: YesOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Stop an app: its containers end, its waiting inputs are cancelled, its name is free again."""
    session = session_of(context, env)
    if not yes:
        objects.confirm(f"Stop app {app!r} and cancel its unfinished inputs?")
    session.request("app_stop", name=app)
    terminal.say(f"✓ App {app} stopped.")


def history(
    context: typer.Context,
    app: AppArgument,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show the revisions of a deployed app, the newest first."""
    session = session_of(context, env)
    reply = session.request("app_history", name=app)
    revisions = terminal.choose_keys(reply["revisions"], _REVISION_KEYS)
    revisions.sort(key=lambda revision: revision["number"], reverse=True)
    now = session.host.clock.wall()
    terminal.print_listing(
        revisions,
        ("REVISION", "LIVE", "CREATED", "ROLLBACK OF", "LABELS"),
        lambda revision: (
            _version(revision["number"]),
            "live" if revision["live"] else "",
            moments.ago(revision["created"], now),
            _version(revision["rollback_of"]),
            _labels(revision["labels"]),
        ),
        as_json=as_json,
        empty=f"App {app} has no revisions.",
    )


def rollback(
    context: typer.Context,
    app: AppArgument,
    revision: Annotated[
        str | None,
        typer.Argument(metavar="[vN]", help="Revision to go back to; the one before the live one."),
    ] = None,
    strategy: StrategyOption = "rolling",
    env: EnvironmentOption = None,
) -> None:
    """Make an earlier revision live again, as a new revision."""
    session = session_of(context, env)
    number = None if revision is None else _revision_number(revision)
    reply = session.request(
        "app_rollback",
        name=app,
        number=number,
        strategy=check_strategy(strategy),
        environ=session.host.build_environ(),
    )
    back_to = f"to {revision}" if revision else "to the one before"
    terminal.say(f"✓ App {app} rolled back {back_to}; it is revision v{reply['revision']} now.")


def rollover(
    context: typer.Context,
    app: AppArgument,
    strategy: StrategyOption = "rolling",
    env: EnvironmentOption = None,
) -> None:
    """Make the live revision a new one without changes: its containers are replaced."""
    session = session_of(context, env)
    reply = session.request(
        "app_rollover",
        name=app,
        strategy=check_strategy(strategy),
        environ=session.host.build_environ(),
    )
    terminal.say(f"✓ App {app} rolled over; it is revision v{reply['revision']} now.")


def info(
    context: typer.Context,
    app: AppArgument,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show what the engine knows of an app."""
    facts = terminal.choose_keys([_listed(session_of(context, env), app)], _APP_KEYS)[0]
    if as_json:
        terminal.print_json(facts)
        return
    rows = [
        (key, ", ".join(value) if isinstance(value, list) else value)
        for key, value in facts.items()
        if value not in (None, {})
    ]
    terminal.print_table(("FACT", "VALUE"), rows, empty="")


def stats(
    context: typer.Context,
    app: AppArgument,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show waiting and running inputs and the containers of an app, over all its functions."""
    from cloudfn.cli import stats as stats_command

    session = session_of(context, env)
    found = _listed(session, app)
    stats_command.show(session, found["function_ids"], as_json=as_json)


def _function_ids(session: Session, app: str) -> dict[str, str]:
    found = _listed(session, app, stopped=True)
    return dict(zip(found["functions"], found["function_ids"], strict=True))


def _listed(session: Session, name: str, *, stopped: bool = False) -> dict[str, Any]:
    for app in session.request("app_list", all=stopped)["apps"]:
        if app["app_id"] == name or (app["name"], app["state"]) == (name, "deployed"):
            return dict(app)
    raise errors.NotFoundError(
        f"There is no deployed app {name!r}.", hint="`cloudfn app list` lists those that there are."
    )


def resolve_function(session: Session, app: str, function: str) -> dict[str, Any]:
    """Return what the engine knows of a deployed function or class.

    Raises:
        NotFoundError: There is no such app or function.
    """
    try:
        return session.request("function_lookup", app=app, name=function)
    except errors.NotFoundError as error:
        if "is a class" not in error.message:
            raise
        return session.request("function_lookup", app=app, name=function_name(function))


def _revision_number(text: str) -> int:
    if text[:1] != "v" or not text[1:].isdigit():
        raise typer.BadParameter(f"{text!r} is not a revision; write it as v3.")
    return int(text[1:])


def _version(number: object) -> str | None:
    return f"v{number}" if number else None


def _labels(labels: object) -> str:
    if not isinstance(labels, dict):
        return ""
    return " ".join(f"{name}={value}" for name, value in labels.items() if value not in (None, ""))
