"""`cloudfn secret`: create, list, delete. Values go in, and never come out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cloudfn import errors
from cloudfn.cli import objects, terminal
from cloudfn.cli.objects import NameArgument
from cloudfn.cli.options import EnvironmentOption
from cloudfn.cli.session import session_of
from cloudfn.model import ids


def build() -> typer.Typer:
    """Return the command group."""
    return objects.group("secret", "st", create=create)


def create(
    context: typer.Context,
    name: NameArgument,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE | KEY | -]…",
            help="Variables. A value of a KEY alone is asked for; - reads lines of KEY=VALUE from "
            "stdin. So no value need stand in the list of processes.",
        ),
    ] = None,
    from_dotenv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take those of a .env file.")
    ] = None,
    from_json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take those of a JSON object.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace one of that name.")] = False,
    env: EnvironmentOption = None,
) -> None:
    """Keep variables under a name, for containers of functions that name it."""
    values: dict[str, str] = {}
    if from_dotenv is not None:
        values |= _dotenv(_text(from_dotenv), str(from_dotenv))
    if from_json is not None:
        values |= _json(_text(from_json), from_json)
    for word in words or ():
        values |= _typed(word)
    if not values:
        raise typer.BadParameter("Say KEY=VALUE, KEY, -, --from-dotenv or --from-json.")
    session = session_of(context, env)
    session.request(
        "secret_create",
        name=name,
        object_id=ids.mint("st"),
        values=values,
        mode="replace" if force else "new",
    )
    terminal.say(f"✓ Secret {name} holds {', '.join(values)}.")


def _typed(word: str) -> dict[str, str]:
    if word == "-":
        return _dotenv(sys.stdin.read(), "stdin")
    key, equals, value = word.partition("=")
    if not key:
        raise typer.BadParameter("A word without a KEY.")
    if equals:
        return {key: value}
    if not terminal.is_terminal(sys.stdin):
        raise typer.BadParameter(f"Nobody is there to ask for {key}; say {key}=VALUE, or -.")
    return {key: str(typer.prompt(key, hide_input=True, err=True))}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise errors.InvalidError(
            f"{path} cannot be read: {error.strerror}.",
            hint="Name a file that you may read, or give NAME=VALUE pairs.",
        ) from error


def _dotenv(text: str, where: str) -> dict[str, str]:
    from cloudfn.sdk import dotenv

    return dotenv.parse(text, where)


def _json(text: str, path: Path) -> dict[str, str]:
    import json

    try:
        found = json.loads(text)
    except ValueError:
        raise errors.InvalidError(
            f"{path} is no JSON.", hint='Write it as {"NAME": "VALUE"}.'
        ) from None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise errors.InvalidError(
            f"{path} is no JSON object of texts.",
            hint='Write it as {"NAME": "VALUE"}, with text in quotes.',
        )
    return found
