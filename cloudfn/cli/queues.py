"""`cloudfn queue`: create, list, peek, len, clear, delete."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from cloudfn.cli import objects, terminal
from cloudfn.cli.dicts import ReprOption
from cloudfn.cli.objects import NameArgument
from cloudfn.cli.options import EnvironmentOption, JsonOption, YesOption
from cloudfn.cli.session import session_of

if TYPE_CHECKING:
    from cloudfn.sdk.queues import Queue

PartitionOption = Annotated[
    str | None,
    typer.Option("--partition", "-p", metavar="NAME", help="Partition; the queue's own without."),
]


def build() -> typer.Typer:
    """Return the command group."""
    app = objects.group("queue", "qu")
    app.command("peek")(peek)
    app.command("len")(length)
    app.command("clear")(clear)
    return app


def peek(
    context: typer.Context,
    name: NameArgument,
    count: Annotated[int, typer.Argument(metavar="[N]", min=1, help="How many.")] = 1,
    partition: PartitionOption = None,
    as_repr: ReprOption = False,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Print the next elements and leave them there."""
    values = islice(_queue(context, name, env).iterate(partition=partition), count)
    texts = [objects.shown(value, as_repr=as_repr) for value in values]
    if as_json:
        terminal.print_json(texts)
        return
    for text in texts:
        terminal.print_text(text)


def length(
    context: typer.Context,
    name: NameArgument,
    partition: PartitionOption = None,
    total: Annotated[bool, typer.Option("--total", "-t", help="Of all partitions.")] = False,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Print how many elements wait."""
    count = _queue(context, name, env).len(partition=partition, total=total)
    if as_json:
        terminal.print_json({"len": count})
    else:
        terminal.print_text(str(count))


def clear(
    context: typer.Context,
    name: NameArgument,
    partition: PartitionOption = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="All partitions.")] = False,
    yes: YesOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Remove the elements of a partition, or of all."""
    handle = _queue(context, name, env)
    if not yes:
        objects.confirm(f"Remove elements from queue {name!r}?")
    handle.clear(partition=partition, all=everything)
    terminal.say(f"✓ Queue {name} cleared.")


def _queue(context: typer.Context, name: str, env: str | None) -> Queue:
    from cloudfn.sdk.queues import Queue

    return Queue.from_name(name, client=session_of(context, env).program_client())
