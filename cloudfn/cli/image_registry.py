"""`cloudfn image push` and `pull`: images on their way to registries and back."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudfn.cli import terminal
from cloudfn.cli.options import EnvironmentOption, JsonOption, complete_image
from cloudfn.cli.session import session_of
from cloudfn.cli.sizes import size

SecretOption = Annotated[
    str | None,
    typer.Option(
        "--secret",
        metavar="NAME",
        help="A secret with REGISTRY_USERNAME and REGISTRY_PASSWORD; else `docker login` counts.",
    ),
]


def push(
    context: typer.Context,
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE", help="Id of an image of Docker.", autocompletion=complete_image
        ),
    ],
    repository: Annotated[
        str, typer.Argument(metavar="REPOSITORY", help="Where to: registry.example/team/images.")
    ],
    secret: SecretOption = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Send an image to a registry, and print what names it there for ever."""
    session = session_of(context, env)
    told = session.request("image_push", image=image, repository=repository, secret=secret)
    if as_json:
        terminal.print_json({"image_id": told["image_id"], "reference": told["reference"]})
        return
    terminal.say(f"✓ {told['image_id']} pushed.")
    terminal.print_text(told["reference"])


def pull(
    context: typer.Context,
    reference: Annotated[
        str,
        typer.Argument(metavar="REFERENCE", help="What push printed: REPOSITORY@sha256:…."),
    ],
    secret: SecretOption = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Bring an image from a registry, so that no deploy has to build it."""
    session = session_of(context, env)
    told = session.request("image_pull", reference=reference, secret=secret)
    if as_json:
        keys = ("image_id", "runtime", "python", "size", "created", "reference")
        terminal.print_json({key: told[key] for key in keys})
        return
    terminal.say(f"✓ {told['image_id']} pulled, {size(told['size'])}.")
