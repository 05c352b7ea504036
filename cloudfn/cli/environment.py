"""`cloudfn environment`: list, create, delete."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudfn import errors
from cloudfn.cli import terminal
from cloudfn.cli.objects import confirm
from cloudfn.cli.options import JsonOption, YesOption, command_group
from cloudfn.cli.session import Session, session_of
from cloudfn.settings import LOCAL

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


def list_environments(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the environments of this machine, or with --provider aws those of a region."""
    from cloudfn.sdk.environment import Environment

    session = session_of(context, None)
    if session.settings.provider == LOCAL:
        names = [each.name for each in Environment.objects.list()]
    else:
        names = _in_a_cloud(session)
    if as_json:
        terminal.print_json([{"name": name} for name in names])
        return
    terminal.print_table(("NAME",), [[name] for name in names], empty="There are none yet.")


def create(context: typer.Context, name: NameArgument) -> None:
    """Make an environment on this machine."""
    from cloudfn.sdk.environment import Environment

    _refuse_clouds(context, f"`cloudfn infra init --env {name}`, then `cloudfn infra apply`")
    Environment.objects.create(name)
    terminal.say(f"✓ Environment {name} is there; use it with --env {name}.")


def delete(
    context: typer.Context,
    name: NameArgument,
    yes: YesOption = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="It is no error if there is none.")
    ] = False,
) -> None:
    """Delete an environment of this machine with everything in it: apps, calls, results, logs."""
    from cloudfn.sdk.environment import Environment

    _refuse_clouds(context, f"`cloudfn destroy --env {name}`")
    if not yes:
        confirm(f"Delete the environment {name!r} and everything in it?")
    Environment.objects.delete(name, allow_missing=allow_missing)
    terminal.say(f"✓ Environment {name} is gone.")


def _in_a_cloud(session: Session) -> list[str]:
    account = session.host.open_account(session.settings)
    if account is None:
        raise errors.UnimplementedError(
            f"Nobody lists the environments of the provider {session.settings.provider!r}.",
            hint="`--provider local` lists those of this machine.",
        )
    try:
        return account.environments()
    finally:
        account.close()


def _refuse_clouds(context: typer.Context, instead: str) -> None:
    provider = session_of(context, None).settings.provider
    if provider != LOCAL:
        raise errors.InvalidError(
            f"Environments of the provider {provider!r} are made and removed by Terraform.",
            hint=f"{instead}.",
        )
