"""What `cloudfn dict`, `queue` and the like have in common: create, list, delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from cloudfn import errors
from cloudfn.cli import moments, terminal
from cloudfn.cli.options import EnvironmentOption, JsonOption, YesOption, command_group
from cloudfn.cli.session import session_of
from cloudfn.model import ids

_KEYS = ("name", "object_id", "created")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]
MissingOption = Annotated[
    bool, typer.Option("--allow-missing", help="It is no error when there is none.")
]


def group(
    noun: str,
    prefix: str,
    *,
    create: Callable[..., None] | None = None,
    list_all: Callable[..., None] | None = None,
) -> typer.Typer:
    """Return a command group that can create, list and delete objects of a kind.

    Args:
        noun: The kind.
        prefix: What its ids begin with.
        create: The command that creates one, where that takes more than a name.
        list_all: The command that lists them, where there is more to tell.
    """
    app = command_group(f"Look after {noun}s.")

    def create_empty(
        context: typer.Context, name: NameArgument, env: EnvironmentOption = None
    ) -> None:
        session = session_of(context, env)
        session.request(
            "object_open", kind=noun, name=name, object_id=ids.mint(prefix), exist_ok=False
        )
        terminal.say(f"✓ {noun.capitalize()} {name} created.")

    def list_plain(
        context: typer.Context, as_json: JsonOption = False, env: EnvironmentOption = None
    ) -> None:
        session = session_of(context, env)
        found = terminal.choose_keys(session.request("object_list", kind=noun)["objects"], _KEYS)
        now = session.host.clock.wall()
        terminal.print_listing(
            found,
            ("NAME", "ID", "CREATED"),
            lambda each: (each["name"], each["object_id"], moments.ago(each["created"], now)),
            as_json=as_json,
            empty=f"There are no {noun}s. `cloudfn {noun} create NAME` makes one.",
        )

    def delete(
        context: typer.Context,
        name: NameArgument,
        allow_missing: MissingOption = False,
        yes: YesOption = False,
        env: EnvironmentOption = None,
    ) -> None:
        delete_named(context, noun, name, allow_missing=allow_missing, yes=yes, env=env)

    if create is None:
        app.command("create", help=f"Make an empty {noun}.")(create_empty)
    else:
        app.command("create")(create)
    if list_all is None:
        app.command("list", help=f"List the {noun}s of the environment.")(list_plain)
    else:
        app.command("list")(list_all)
    app.command("delete", help=f"Delete a {noun} with everything in it.")(delete)
    return app


def delete_named(
    context: typer.Context, noun: str, name: str, *, allow_missing: bool, yes: bool, env: str | None
) -> None:
    """Delete an object, having asked unless `yes`."""
    session = session_of(context, env)
    try:
        object_id = session.request("object_open", kind=noun, name=name)["object_id"]
    except errors.NotFoundError:
        if not allow_missing:
            raise
        terminal.say(f"There is no {noun} {name}.")
        return
    if not yes:
        confirm(f"Delete {noun} {name!r} with everything in it?")
    session.request("object_delete", object_id=object_id)
    terminal.say(f"✓ {noun.capitalize()} {name} deleted.")


def confirm(question: str) -> None:
    """Ask, and end the command unless the answer is yes."""
    import sys

    if not terminal.is_terminal(sys.stdin):
        raise typer.BadParameter("Nobody is there to ask; say --yes to go ahead.")
    typer.confirm(question, abort=True, err=True)


def shown(value: Any, *, as_repr: bool) -> str:
    """Return a value as people read it."""
    return repr(value) if as_repr else str(value)
