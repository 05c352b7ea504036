"""`cloudfn dict`: create, list, get, items, clear, delete."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from cloudfn import errors
from cloudfn.cli import objects, terminal
from cloudfn.cli.objects import NameArgument
from cloudfn.cli.options import EnvironmentOption, JsonOption, YesOption
from cloudfn.cli.session import session_of

if TYPE_CHECKING:
    from cloudfn.sdk.dicts import Dict

ReprOption = Annotated[bool, typer.Option("--repr", "-r", help="Show them as Python writes them.")]


def build() -> typer.Typer:
    """Return the command group."""
    app = objects.group("dict", "di")
    app.command("get")(get)
    app.command("items")(items)
    app.command("clear")(clear)
    return app


def get(
    context: typer.Context,
    name: NameArgument,
    key: Annotated[str, typer.Argument(metavar="KEY", help="A key that is text.")],
    env: EnvironmentOption = None,
) -> None:
    """Print the value of a key."""
    handle = _dict(context, name, env)
    try:
        terminal.print_text(str(handle[key]))
    except KeyError:
        raise errors.NotFoundError(
            f"The dict {name!r} has no key {key!r}.", hint=f"See `cloudfn dict items {name} -r`."
        ) from None


def items(
    context: typer.Context,
    name: NameArgument,
    count: Annotated[int, typer.Argument(metavar="[N]", min=1, help="How many.")] = 20,
    everything: Annotated[bool, typer.Option("--all", "-a", help="All of them.")] = False,
    as_repr: ReprOption = False,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Print keys and values."""
    handle = _dict(context, name, env)
    pairs = [
        (objects.shown(key, as_repr=as_repr), objects.shown(value, as_repr=as_repr))
        for key, value in islice(handle.items(), None if everything else count)
    ]
    if as_json:
        terminal.print_json([{"key": key, "value": value} for key, value in pairs])
        return
    terminal.print_table(("KEY", "VALUE"), pairs, empty=f"The dict {name} is empty.")


def clear(
    context: typer.Context,
    name: NameArgument,
    yes: YesOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Remove everything from a dict."""
    handle = _dict(context, name, env)
    if not yes:
        objects.confirm(f"Remove everything from dict {name!r}?")
    handle.clear()
    terminal.say(f"✓ Dict {name} is empty.")


def _dict(context: typer.Context, name: str, env: str | None) -> Dict:
    from cloudfn.sdk.dicts import Dict

    return Dict.from_name(name, client=session_of(context, env).program_client())
