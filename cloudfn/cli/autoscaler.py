"""`cloudfn update-autoscaler`: change how a deployed function scales, without a deploy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cloudfn.cli import moments, terminal
from cloudfn.cli.app import resolve_function
from cloudfn.cli.options import (
    AppArgument,
    EnvironmentOption,
    FunctionArgument,
    JsonOption,
    command_group,
)
from cloudfn.cli.session import Session, session_of

KEYS = ("min_containers", "max_containers", "buffer_containers", "scaledown_window")


def build() -> typer.Typer:
    """Return the command."""
    app = command_group()
    app.command("update-autoscaler")(update)
    return app


MinOption = Annotated[int | None, typer.Option(min=0, help="Containers that are always kept.")]
MaxOption = Annotated[
    str | None, typer.Option(metavar="N|none", help="Containers at most; none: no limit.")
]
BufferOption = Annotated[
    int | None, typer.Option(min=0, help="Idle containers beside the busy ones.")
]
WindowOption = Annotated[
    int | None, typer.Option(min=2, max=3600, help="Seconds that idle containers are kept.")
]


def update(
    context: typer.Context,
    app: AppArgument,
    function: FunctionArgument,
    min_containers: MinOption = None,
    max_containers: MaxOption = None,
    buffer_containers: BufferOption = None,
    scaledown_window: WindowOption = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Change a function's scaling at once; what is not named stays, the next deploy resets it."""
    changes = changes_of(min_containers, max_containers, buffer_containers, scaledown_window)
    session = session_of(context, env)
    found = resolve_function(session, app, function)
    carry_out(session, f"{app}/{function}", scaled_id(session, found), changes, as_json=as_json)


def changes_of(
    min_containers: int | None,
    max_containers: str | None,
    buffer_containers: int | None,
    scaledown_window: int | None,
) -> dict[str, int | None]:
    """Return what options ask to change; raises BadParameter where they ask for nothing."""
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
    return changes


def scaled_id(session: Session, found: Mapping[str, Any]) -> str:
    """Return the id of what scales: of a class with parameters, the instance without any."""
    function_id: str = found["function_id"]
    cls = found.get("spec", {}).get("cls") or {}
    if not cls.get("parameters"):
        return function_id
    bound = session.request("function_bind", function_id=function_id, parameters={}, options={})
    return str(bound["function_id"])


def carry_out(
    session: Session, name: str, function_id: str, changes: dict[str, int | None], *, as_json: bool
) -> None:
    """Change a function's settings, and show those in force then."""
    reply = session.request("settings_update", function_id=function_id, changes=changes)
    if as_json:
        terminal.print_json({key: reply["settings"].get(key) for key in KEYS})
        return
    terminal.say(f"✓ {name} scales by these settings now:")
    if "updated_by" in reply:
        when, who = moments.stamp(reply["updated"]), reply["updated_by"]
        terminal.say(f"  changed {when} by {who}")
    shown = shown_settings(reply["settings"])
    terminal.print_table(("SETTING", "VALUE"), list(shown.items()), empty="")


def shown_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as text, in their usual order."""
    limit = settings.get("max_containers")
    return {
        key: str(settings.get(key)) if key != "max_containers" or limit is not None else "none"
        for key in KEYS
    }


def _limit(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if not text.isdigit() or int(text) < 1:
        raise typer.BadParameter(f"--max-containers {text!r} is neither 1 or more nor none.")
    return int(text)
