"""`cloudfn daemon`: start, stop, status, logs, install."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path
from typing import Annotated, Any

import typer

from cloudfn import errors
from cloudfn.cli import moments, terminal
from cloudfn.cli.options import EnvironmentOption, JsonOption, command_group
from cloudfn.cli.session import Session, session_of
from cloudfn.cli.systemd import unit_name, unit_text
from cloudfn.settings import LOCAL

#: seconds that `stop` waits for running inputs to end
_STOP_DEADLINE = 60.0
_POLL = 0.05
_LOG_NAME = "daemon.log"


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group("Look after this machine's engine. It starts by itself when it is needed.")
    app.callback()(check_local)
    app.command("start")(start)
    app.command("stop")(stop)
    app.command("status")(status)
    app.command("logs")(show_logs)
    app.command("install")(install)
    return app


def check_local(context: typer.Context) -> None:
    """Look after this machine's engine. It starts by itself when it is needed."""
    session = context.find_object(Session)
    if session is None:
        return
    if session.provider in (None, LOCAL):
        session.provider = LOCAL  # whatever $CLOUDFN_PROVIDER says
    else:
        raise errors.InvalidError(
            f"A daemon is of this machine, and there is none for {session.provider}.",
            hint="Leave `--provider` away; `cloudfn app list` shows what runs elsewhere.",
        )


def start(context: typer.Context, env: EnvironmentOption = None) -> None:
    """Start the daemon of the environment, unless it runs already."""
    session = session_of(context, env)
    reply = session.request("status")
    terminal.say(f"✓ The daemon of {session.settings.environment} runs, pid {reply['pid']}.")


def stop(
    context: typer.Context,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for running inputs.")] = False,
    env: EnvironmentOption = None,
) -> None:
    """Stop the daemon; what waits in the ledger goes on with the next start."""
    session = session_of(context, env)
    name = session.settings.environment
    try:
        session.running_client().request("shutdown", mode="now" if now else "drain")
    except errors.ConnectionError:
        terminal.say(f"No daemon of {name} runs.")
        return
    session.close()
    _await_end(session)
    terminal.say(f"✓ The daemon of {name} stopped.")


def status(
    context: typer.Context, as_json: JsonOption = False, env: EnvironmentOption = None
) -> None:
    """Say whether the daemon runs, and what it does; exit code 1 where it does not run."""
    session = session_of(context, env)
    try:
        reply = session.running_client().request("status")
    except errors.ConnectionError:
        reply = None
    if as_json:
        terminal.print_json({"running": reply is not None, **(_public(reply) if reply else {})})
    elif reply is None:
        terminal.say(f"No daemon of {session.settings.environment} runs; it starts when needed.")
    else:
        _show_status(reply, session.host.clock.wall())
    if reply is None:
        raise typer.Exit(1)


def show_logs(
    context: typer.Context,
    tail: Annotated[int, typer.Option("--tail", "-n", min=1, help="The last N lines.")] = 100,
    env: EnvironmentOption = None,
) -> None:
    """Show the daemon's own log."""
    path = session_of(context, env).settings.state_dir / _LOG_NAME
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = deque(file, maxlen=tail)
    except FileNotFoundError:
        terminal.say(f"There is no log yet: {path}.")
        return
    for line in lines:
        terminal.print_text(line.rstrip("\n"))


def install(
    context: typer.Context,
    only_print: Annotated[
        bool, typer.Option("--print", help="Only show the unit, write nothing.")
    ] = False,
    env: EnvironmentOption = None,
) -> None:
    """Write a systemd user service, so that the daemon runs from login on, for schedules."""
    session = session_of(context, env)
    settings = session.settings
    text = unit_text(Path(sys.executable), settings.environment, settings.root)
    if only_print:
        print(text, end="")
        return
    path = session.host.home / ".config" / "systemd" / "user" / unit_name(settings.environment)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise errors.ExecutionError(
            f"{path} cannot be written: {error.strerror}.",
            hint="Make its directory writable, or use --print and put the unit there yourself.",
        ) from None
    terminal.say(f"✓ Wrote {path}. To start it now and at every login:")
    print(f"systemctl --user daemon-reload && systemctl --user enable --now {path.name}")
    terminal.say("To keep it after logout: loginctl enable-linger")


def _await_end(session: Session) -> None:
    clock = session.host.clock
    deadline = clock.monotonic() + _STOP_DEADLINE
    while clock.monotonic() < deadline:
        try:
            session.running_client()
        except errors.Error:
            return
        session.close()
        clock.sleep(_POLL)
    raise errors.TimeoutError(
        f"The daemon still runs after {_STOP_DEADLINE:.0f} s.",
        hint="It waits for running inputs; `cloudfn daemon stop --now` does not.",
    )


def _public(reply: dict[str, Any]) -> dict[str, Any]:
    plain = str | int | float | bool
    return {k: v for k, v in reply.items() if k != "id" and isinstance(v, plain)}


def _show_status(reply: dict[str, Any], now: float) -> None:
    rows = [
        (key.replace("_", " "), moments.ago(value, now) if key == "started" else value)
        for key, value in _public(reply).items()
    ]
    terminal.print_table(("FACT", "VALUE"), rows, empty="")
