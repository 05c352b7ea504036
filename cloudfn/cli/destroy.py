"""`cloudfn destroy`: `cloudfn infra destroy`, where people look for it."""

from __future__ import annotations

import typer

from cloudfn.cli.infra import destroy
from cloudfn.cli.options import command_group


def build() -> typer.Typer:
    """Return the command."""
    app = command_group()
    app.command("destroy")(destroy)
    return app
