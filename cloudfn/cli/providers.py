"""`--provider` and `--region`, on every command that acts in an environment."""

from __future__ import annotations

from typing import Any

from typer.core import TyperOption

from cloudfn.cli.session import Session


def add_options(command: Any, *, everywhere: bool = False) -> None:
    """Add the options to a command, or to all commands of a group, that have `--env`.

    Args:
        command: The command or group.
        everywhere: To those without `--env` as well.
    """
    commands = getattr(command, "commands", {})
    for each in commands.values():
        add_options(each, everywhere=everywhere)
    names = {param.name for param in command.params}
    if ("env" in names or (everywhere and not commands)) and "provider" not in names:
        command.params += options()


def options() -> list[TyperOption]:
    """Return new options; what they say goes to the command's session."""
    return [
        _option(
            "provider",
            "NAME",
            "Where functions run: local or aws, instead of $CLOUDFN_PROVIDER or local.",
        ),
        _option("region", "REGION", "Region of the provider, instead of $CLOUDFN_REGION."),
    ]


def _option(name: str, metavar: str, help: str) -> TyperOption:
    def take(context: Any, _param: Any, value: str | None) -> str | None:
        session = context.find_object(Session)
        if session is not None and value is not None:
            setattr(session, name, value)
        return value

    return TyperOption(
        param_decls=[f"--{name}"],
        metavar=metavar,
        help=help,
        callback=take,
        expose_value=False,
        default=None,
    )
