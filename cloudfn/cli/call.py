"""`cloudfn call`: list, get, cancel, drop."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Annotated, Any

import typer

from cloudfn import errors
from cloudfn.cli import moments, terminal
from cloudfn.cli.options import EnvironmentOption, JsonOption, complete_app
from cloudfn.cli.session import Session, session_of

_KEYS = (
    "call",
    "kind",
    "app_name",
    "function_name",
    "function_id",
    "name",
    "created",
    "known",
    "sealed",
    "finished",
    "failed",
    "cancelled",
)

CallArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of a call, as fc-….")]


def build() -> typer.Typer:
    """Return the command group."""
    app = typer.Typer(
        add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="Look after calls."
    )
    app.command("list")(list_calls)
    app.command("get")(get)
    app.command("cancel")(cancel)
    app.command("drop")(drop)
    return app


def list_calls(
    context: typer.Context,
    app: Annotated[
        str | None, typer.Option(help="Only of this app.", autocompletion=complete_app)
    ] = None,
    function: Annotated[str | None, typer.Option(help="Only of this function.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")
    ] = 20,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """List calls, the newest first."""
    if function is not None and app is None:
        raise typer.BadParameter("--function needs --app, to say which app it belongs to.")
    session = session_of(context, env)
    show_calls(session, as_json=as_json, limit=limit, app=app, function=function)


def show_calls(session: Session, *, as_json: bool, **wanted: Any) -> None:
    """Print the calls that the fields of `call_list` choose."""
    reply = session.request("call_list", **wanted)
    calls = terminal.choose_keys(reply["calls"], _KEYS)
    if as_json:
        terminal.print_json(calls)
        return
    now = session.host.clock.wall()
    terminal.print_table(
        ("ID", "APP", "FUNCTION", "KIND", "INPUTS", "DONE", "FAILED", "STATE", "CREATED", "NAME"),
        [
            (
                each["call"],
                each["app_name"],
                each["function_name"],
                str(each["kind"]).lower(),
                each["known"],
                each["finished"],
                each["failed"],
                _state(each),
                moments.ago(each["created"], now),
                each["name"],
            )
            for each in calls
        ],
        empty="There are no calls.",
    )


def get(
    context: typer.Context,
    call: CallArgument,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds to wait; without it, until it is there.")
    ] = None,
    index: Annotated[int, typer.Option(min=0, help="Which input of a call of many.")] = 0,
    write_result: Annotated[
        Path | None, typer.Option("--write-result", "-w", help="Write str or bytes to this file.")
    ] = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Wait for a call's result and print it."""
    from cloudfn.cli.results import show_result, tell_failure

    session = session_of(context, env)
    try:
        result = session.host.get_result(session.client, call, index, timeout)
    except builtins.TimeoutError:
        raise errors.TimeoutError(
            f"Call {call} has no result after {timeout:g} s.",
            hint="It goes on; ask again later, or leave --timeout away.",
        ) from None
    except errors.Error:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the function raised
        tell_failure(error, full=session.settings.full_traceback)
        raise typer.Exit(1) from None
    show_result(result, write_to=write_result, as_json=as_json)


def cancel(
    context: typer.Context,
    call: CallArgument,
    terminate: Annotated[
        bool, typer.Option("--terminate", help="End the containers that run its inputs, too.")
    ] = False,
    env: EnvironmentOption = None,
) -> None:
    """Cancel a call's unfinished inputs."""
    session = session_of(context, env)
    session.request("call_cancel", call=call, terminate=terminate)
    terminal.say(f"✓ Call {call} is cancelled.")


def drop(
    context: typer.Context,
    call: Annotated[
        str, typer.Argument(metavar="ID|NAME", help="Id of a call, or the name of a resumable map.")
    ],
    env: EnvironmentOption = None,
) -> None:
    """Forget a call: cancel what is unfinished, and delete what it came to."""
    session = session_of(context, env)
    reply = session.request("call_drop", call=call)
    terminal.say(f"✓ Call {reply['call']} is forgotten.")


def _state(call: dict[str, Any]) -> str:
    if call["cancelled"]:
        return "cancelled"
    if call["sealed"] and call["finished"] == call["known"]:
        return "failed" if call["failed"] else "done"
    return "running"
