"""`cloudfn call`: list, get, cancel, drop; dead, retry."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Annotated, Any

import typer

from cloudfn import errors
from cloudfn.cli import moments, terminal
from cloudfn.cli.options import EnvironmentOption, JsonOption, command_group, complete_app
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

_DEAD_KEYS = (
    "input",
    "call",
    "index",
    "app_name",
    "function_name",
    "status",
    "created",
    "error",
)

CallArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of a call, as fc-….")]


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group("Look after calls.")
    app.command("list")(list_calls)
    app.command("get")(get)
    app.command("cancel")(cancel)
    app.command("dead")(dead)
    app.command("retry")(retry)
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
    now = session.host.clock.wall()
    terminal.print_listing(
        calls,
        ("ID", "APP", "FUNCTION", "KIND", "INPUTS", "DONE", "FAILED", "STATE", "CREATED", "NAME"),
        lambda each: (
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
        ),
        as_json=as_json,
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


def dead(
    context: typer.Context,
    app: Annotated[
        str | None, typer.Option(help="Only of this app.", autocompletion=complete_app)
    ] = None,
    function: Annotated[str | None, typer.Option(help="Only of functions of this name.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many, those of the latest calls first.")
    ] = 20,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """List inputs of spawned calls and resumable maps that failed for good."""
    session = session_of(context, env)
    reply = session.request("call_dead", app=app, function=function, limit=limit)
    letters = [{**each, "error": _error_of(each)} for each in reply["dead"]]
    letters = terminal.choose_keys(letters, _DEAD_KEYS)
    now = session.host.clock.wall()
    terminal.print_listing(
        letters,
        ("ID", "CALL", "INPUT", "APP", "FUNCTION", "STATUS", "CREATED", "ERROR"),
        lambda each: (
            each["input"],
            each["call"],
            each["index"],
            each["app_name"],
            each["function_name"],
            each["status"].lower(),
            moments.ago(each["created"], now),
            each["error"],
        ),
        as_json=as_json,
        empty="There are no dead letters.",
    )


def retry(
    context: typer.Context,
    call: CallArgument,
    inputs: Annotated[
        list[int] | None,
        typer.Option("--input", min=0, help="This input; may be given several times."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All its dead letters.")] = False,
    env: EnvironmentOption = None,
) -> None:
    """Run inputs that failed for good once more, as a new call of the function as it is now."""
    if bool(inputs) == every:
        raise typer.BadParameter("Say which inputs: --input N, perhaps several times, or --all.")
    session = session_of(context, env)
    reply = session.request("call_retry", call=call, inputs=inputs or None)
    terminal.print_text(reply["call"])
    terminal.say(f"✓ {reply['inputs']} of call {call} run again as {reply['call']}.")


def drop(
    context: typer.Context,
    call: Annotated[
        str,
        typer.Argument(
            metavar="ID|NAME", help="Id of a call or of a dead letter, or name of a resumable map."
        ),
    ],
    env: EnvironmentOption = None,
) -> None:
    """Forget a call, whatever it came to and what is unfinished; or a dead letter."""
    session = session_of(context, env)
    reply = session.request("call_drop", call=call)
    what = "Dead letter" if reply["call"].startswith("in-") else "Call"
    terminal.say(f"✓ {what} {reply['call']} is forgotten.")


def _error_of(letter: dict[str, Any]) -> str:
    """Return in a line why an input failed."""
    from base64 import b64decode

    from cloudfn.wire.exceptions import headline_of_exception
    from cloudfn.wire.messages import decode_json, is_blob

    outcome = b64decode(letter["outcome"])
    if letter["status"] != "RAISED":
        told = decode_json(outcome)
        text = f"{told['error']}: {told['message']}"
    else:
        text = "a large exception" if is_blob(outcome) else headline_of_exception(outcome)
    return text.partition("\n")[0]


def _state(call: dict[str, Any]) -> str:
    if call["cancelled"]:
        return "cancelled"
    if call["sealed"] and call["finished"] == call["known"]:
        return "failed" if call["failed"] else "done"
    return "running"
