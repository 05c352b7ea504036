"""What commands share: options, arguments, how shells complete them, and what a group is like."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cloudfn import errors
from cloudfn.cli import cloud_names
from cloudfn.cli.session import Session, system_host
from cloudfn.settings import LOCAL

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


def check_runtime(runtime: str | None) -> str | None:
    """Return `runtime` if there is such a one; raises BadParameter (exit code 2) otherwise."""
    from cloudfn.model.runtime import RUNTIMES

    if runtime is not None and runtime not in RUNTIMES:
        raise typer.BadParameter(f"{runtime!r} is none of {', '.join(RUNTIMES)}.")
    return runtime


def complete_runtime(incomplete: str) -> list[str]:
    """Return the runtimes that begin so."""
    from cloudfn.model.runtime import RUNTIMES

    return [name for name in RUNTIMES if name.startswith(incomplete)]


RuntimeOption = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="process|docker",
        help="What containers are, instead of $CLOUDFN_RUNTIME or process; docker on a cloud.",
        show_default=False,
        callback=check_runtime,
        autocompletion=complete_runtime,
    ),
]
AllowUnmetOption = Annotated[
    bool,
    typer.Option(
        "--allow-unmet",
        help="Warn where the runtime cannot give an image all that it asks for, and go on.",
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


def program_of(command: list[str]) -> list[str]:
    """Return a program and its arguments, which may stand behind `--`.

    Raises:
        BadParameter: There is none (exit code 2).
    """
    found = command[1:] if command[0] == "--" else command
    if not found:
        raise typer.BadParameter("Say which program to run.")
    return found


def complete_app(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of apps, as far as a running daemon, or a cloud, tells them at once."""
    return [name for name in _apps(context) if name.startswith(incomplete)]


def complete_function(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the functions of the app that is named already, or of all apps."""
    apps = _apps(context)
    # What stands before an option without its value is not parsed while a shell completes it.
    named = context.params.get("app")
    functions = {f for app, known in apps.items() if named in (None, app) for f in known}
    return sorted(name for name in functions if name.startswith(incomplete))


def complete_function_ref(context: typer.Context, incomplete: str) -> list[str]:
    """Return functions as APP/FUNCTION, once the app is there; before, the apps."""
    app, slash, _ = incomplete.partition("/")
    apps = _apps(context)
    known = [f"{app}/{name}" for name in apps.get(app, ())] if slash else [f"{a}/" for a in apps]
    return [name for name in known if name.startswith(incomplete)]


def complete_container(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the containers that run."""
    session = _on_a_cloud(context)
    if session is not None:
        return _beginning(cloud_names.containers(session), incomplete)
    containers = _told(context, "container_list", app=None).get("containers", ())
    ids = [container["container_id"] for container in containers]
    return [container_id for container_id in ids if container_id.startswith(incomplete)]


def complete_image(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the images that are built."""
    session = _on_a_cloud(context)
    if session is not None:
        return _beginning(cloud_names.images(session), incomplete)
    ids = [image["image_id"] for image in _told(context, "image_list").get("images", ())]
    return _beginning(ids, incomplete)


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
    str,
    typer.Argument(
        metavar="APP/FUNCTION",
        help="A function of an app, or an id, fu-….",
        autocompletion=complete_function_ref,
    ),
]


def check_strategy(strategy: str) -> str:
    """Return `strategy` if there is such a one; raises BadParameter (exit code 2) otherwise."""
    if strategy not in ("rolling", "recreate"):
        raise typer.BadParameter(f"{strategy!r} is neither 'rolling' nor 'recreate'.")
    return strategy


def complete_machine(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the machines that have joined."""
    session = _on_a_cloud(context)
    return [] if session is None else _beginning(cloud_names.machines(session), incomplete)


def _beginning(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _on_a_cloud(context: typer.Context) -> Session | None:
    """Return the command's session where its environment is in a cloud."""
    session = context.find_object(Session) or Session(system_host(), context.params.get("env"))
    try:
        return session if session.settings.provider != LOCAL else None
    except errors.Error:
        return None


def _apps(context: typer.Context) -> dict[str, list[str]]:
    session = _on_a_cloud(context)
    if session is not None:
        return cloud_names.apps(session)
    apps = _told(context, "app_list", all=False).get("apps", ())
    return {app["name"]: list(app.get("functions", ())) for app in apps if app["name"]}


def _told(context: typer.Context, op: str, **fields: Any) -> dict[str, Any]:
    """Return what a running daemon answers; nothing where none runs, and of clouds."""
    if _on_a_cloud(context) is not None:
        return {}
    session = context.find_object(Session) or Session(system_host(), context.params.get("env"))
    try:
        return session.running_client().request(op, **fields)
    except errors.Error:
        return {}
    finally:
        session.close()
