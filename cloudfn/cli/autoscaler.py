"""`cloudfn update-autoscaler`: change how a deployed function scales, without a deploy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cloudfn.cli import terminal
from cloudfn.cli.app import resolve_function
from cloudfn.cli.options import AppArgument, EnvironmentOption, FunctionArgument, JsonOption
from cloudfn.cli.session import session_of

_KEYS = ("min_containers", "max_containers", "buffer_containers", "scaledown_window")


def build() -> typer.Typer:
    """Return the command."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command("update-autoscaler")(update)
    return app


def update(
    context: typer.Context,
    app: AppArgument,
    function: FunctionArgument,
    min_containers: Annotated[
        int | None, typer.Option(min=0, help="Containers that are always kept.")
    ] = None,
    max_containers: Annotated[
        str | None, typer.Option(metavar="N|none", help="Containers at most; none: no limit.")
    ] = None,
    buffer_containers: Annotated[
        int | None, typer.Option(min=0, help="Idle containers beside the busy ones.")
    ] = None,
    scaledown_window: Annotated[
        int | None, typer.Option(min=2, max=3600, help="Seconds that idle containers are kept.")
    ] = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Change a function's scaling at once; what is not named stays, the next deploy resets it."""
    given = {
        "min_containers": min_containers,
        "buffer_containers": buffer_containers,
        "scaledown_window": scaledown_window,
    }
    changes: dict[str, int | None] = {k: v for k, v in given.items() if v is not None}
    if max_containers is not None:
        changes["max_containers"] = _limit(max_containers)
    if not changes:
        raise typer.BadParameter("Say what to change, for example --max-containers 10.")
    session = session_of(context, env)
    found = resolve_function(session, app, function)
    reply = session.request("settings_update", function_id=found["function_id"], changes=changes)
    _show(app, function, reply["settings"], as_json=as_json)


def _show(app: str, function: str, settings: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        terminal.print_json({key: settings.get(key) for key in _KEYS})
        return
    terminal.say(f"✓ {app}/{function} scales by these settings now:")
    limit = settings.get("max_containers")
    shown = {**settings, "max_containers": "none" if limit is None else limit}
    terminal.print_table(
        ("SETTING", "VALUE"), [(key, str(shown.get(key))) for key in _KEYS], empty=""
    )


def _limit(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if not text.isdigit() or int(text) < 1:
        raise typer.BadParameter(f"--max-containers {text!r} is neither 1 or more nor none.")
    return int(text)
