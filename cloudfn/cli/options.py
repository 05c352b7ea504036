"""What commands share: options, arguments, how shells complete them, and what a group is like."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudfn import errors
from cloudfn.cli.session import Session, system_host

EnvironmentOption = Annotated[
    str | None,
    typer.Option(
        "--env",
        "-e",
        metavar="NAME",
        help="Environment to act in, instead of $CLOUDFN_ENVIRONMENT or main.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
AppFileArgument = Annotated[str, typer.Argument(metavar="FILE[::APP]", help="A file with an app.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
StrategyOption = Annotated[
    str,
    typer.Option(
        metavar="rolling|recreate",
        help="rolling: old containers finish their inputs; recreate: they end at once.",
    ),
]


def command_group(help: str | None = None) -> typer.Typer:
    """Return an empty group; without `help` it is for one command, which stands for itself."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=help is not None,
        help=help,
    )


def complete_app(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of apps, as far as a running daemon knows them."""
    return [name for name in _apps(context) if name.startswith(incomplete)]


def complete_function(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the functions of the app that is named already."""
    functions = _apps(context).get(str(context.params.get("app") or ""), [])
    return [name for name in functions if name.startswith(incomplete)]


AppArgument = Annotated[
    str,
    typer.Argument(metavar="APP", help="Name or id of an app.", autocompletion=complete_app),
]
FunctionArgument = Annotated[
    str,
    typer.Argument(
        metavar="FUNCTION", help="Name of a function of it.", autocompletion=complete_function
    ),
]


FunctionRefArgument = Annotated[
    str, typer.Argument(metavar="APP/FUNCTION", help="A function of an app, or an id, fu-….")
]


def check_strategy(strategy: str) -> str:
    """Return `strategy` if there is such a one; raises BadParameter (exit code 2) otherwise."""
    if strategy not in ("rolling", "recreate"):
        raise typer.BadParameter(f"{strategy!r} is neither 'rolling' nor 'recreate'.")
    return strategy


def _apps(context: typer.Context) -> dict[str, list[str]]:
    session = context.find_object(Session) or Session(system_host(), context.params.get("env"))
    try:
        reply = session.running_client().request("app_list", all=False)
    except errors.Error:
        return {}
    finally:
        session.close()
    return {app["name"]: list(app.get("functions", ())) for app in reply["apps"] if app["name"]}
