"""`cloudfn environment`: list, create, delete."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudfn.cli import terminal
from cloudfn.cli.objects import confirm
from cloudfn.cli.options import JsonOption, YesOption, command_group

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of an environment.")]


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group(
        "Look after environments: separate worlds. One is also made when it is first used."
    )
    app.command("list")(list_environments)
    app.command("create")(create)
    app.command("delete")(delete)
    return app


def list_environments(as_json: JsonOption = False) -> None:
    """List the environments of this machine."""
    from cloudfn.sdk.environment import Environment

    names = [each.name for each in Environment.objects.list()]
    if as_json:
        terminal.print_json([{"name": name} for name in names])
        return
    terminal.print_table(("NAME",), [[name] for name in names], empty="There are none yet.")


def create(name: NameArgument) -> None:
    """Make an environment."""
    from cloudfn.sdk.environment import Environment

    Environment.objects.create(name)
    terminal.say(f"✓ Environment {name} is there; use it with --env {name}.")


def delete(
    name: NameArgument,
    yes: YesOption = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="It is no error if there is none.")
    ] = False,
) -> None:
    """Delete an environment with everything in it: apps, calls, results and logs."""
    from cloudfn.sdk.environment import Environment

    if not yes:
        confirm(f"Delete the environment {name!r} and everything in it?")
    Environment.objects.delete(name, allow_missing=allow_missing)
    terminal.say(f"✓ Environment {name} is gone.")
