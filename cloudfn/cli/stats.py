"""`cloudfn stats`: a function's backlog and containers, once or again and again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from cloudfn.cli import terminal
from cloudfn.cli.app import resolve_function
from cloudfn.cli.options import (
    AppArgument,
    EnvironmentOption,
    FunctionArgument,
    JsonOption,
    command_group,
)
from cloudfn.cli.session import Session, session_of

_KEYS = ("backlog", "num_running_inputs", "num_total_runners", "input_headroom", "num_gpus")


def build() -> typer.Typer:
    """Return the command."""
    app = command_group()
    app.command("stats")(stats)
    return app


def stats(
    context: typer.Context,
    app: AppArgument,
    function: FunctionArgument,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, help="Seconds from one to the next with --watch.")
    ] = 1.0,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show waiting and running inputs and the containers of a function."""
    if watch and as_json:
        raise typer.BadParameter("--json is one document; it cannot --watch.")
    session = session_of(context, env)
    function_id = resolve_function(session, app, function)["function_id"]
    if watch:
        _watch(session, function_id, interval)
        return
    show(session, [function_id], as_json=as_json)


def show(session: Session, function_ids: Sequence[str], *, as_json: bool) -> None:
    """Print the figures of functions, added up."""
    each = [_figures(session, function_id) for function_id in function_ids]
    figures = {key: sum(one[key] for one in each) for key in _KEYS}
    if as_json:
        terminal.print_json(figures)
        return
    terminal.print_table(_HEADINGS, [[figures[key] for key in _KEYS]], empty="")


_HEADINGS = ("WAITING", "RUNNING", "CONTAINERS", "FREE SLOTS", "GPUS")


def _figures(session: Session, function_id: str) -> dict[str, int]:
    reply = session.request("stats", function_id=function_id, variants=True)
    return {key: int(reply.get(key) or 0) for key in _KEYS}


def _watch(session: Session, function_id: str, interval: float) -> None:
    in_place = terminal.is_terminal(sys.stdout)
    try:
        while True:
            figures = _figures(session, function_id)
            line = "   ".join(
                f"{name.lower()} {figures[key]:>6,}"
                for name, key in zip(_HEADINGS, _KEYS, strict=True)
            )
            # Below the width a terminal wraps, and what is wrapped cannot be written over.
            print(f"\r\x1b[2K{_fitting(line)}" if in_place else line, end="" if in_place else "\n")
            sys.stdout.flush()
            session.host.clock.sleep(interval)
    finally:
        if in_place:
            print()


def _fitting(line: str) -> str:
    from shutil import get_terminal_size

    return line[: max(get_terminal_size().columns - 1, 1)]
