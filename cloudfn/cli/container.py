"""`cloudfn container`: list, logs, exec, stop."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from shlex import join
from typing import Annotated, Any

import typer

from cloudfn import errors
from cloudfn.cli import logs, moments, terminal
from cloudfn.cli.machine_shell import run_on_machine
from cloudfn.cli.options import (
    EnvironmentOption,
    JsonOption,
    command_group,
    complete_app,
    complete_container,
    program_of,
)
from cloudfn.cli.program_command import SETTINGS, ProgramCommand
from cloudfn.cli.session import session_of

_KEYS = (
    "container_id",
    "app_id",
    "app_name",
    "function_name",
    "revision",
    "pid",
    "state",
    "started",
    "inputs_done",
    "idle_since",
    "gpus",
    "gpu_memory",
    "machine_id",
)

#: what a machine does with a container's label, the folder where programs begin, and a program
_IN_CONTAINER = """
found=$(sudo docker ps --quiet --filter "label=$1")
[ -n "$found" ] || { echo "The container does not run on this machine." >&2; exit 1; }
where=$2; shift 2
exec sudo docker exec --interactive --workdir "$where" "$found" "$@"
"""

ContainerArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="Id of a container.", autocompletion=complete_container),
]


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group("Look after containers.")
    app.command("list")(list_containers)
    app.command("logs")(show_logs)
    app.command("exec", cls=ProgramCommand, context_settings=SETTINGS)(execute)
    app.command("stop")(stop)
    return app


def list_containers(
    context: typer.Context,
    app: Annotated[
        str | None,
        typer.Option("--app", "--app-id", help="Only of this app.", autocompletion=complete_app),
    ] = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """List the containers that run now."""
    session = session_of(context, env)
    reply = session.request("container_list", app=app)
    containers = terminal.choose_keys(reply["containers"], _KEYS)
    now = session.host.clock.wall()
    far = any(each["machine_id"] for each in containers)
    # What only the other kind of provider knows has no column.
    last = ("MACHINE",) if far else ("IDLE SINCE", "GPUS")
    terminal.print_listing(
        containers,
        (
            "ID",
            "APP",
            "FUNCTION",
            "REVISION",
            *(() if far else ("PID",)),
            "STATE",
            "STARTED",
            "INPUTS",
            *last,
        ),
        lambda each: (
            each["container_id"],
            each["app_name"] or each["app_id"],
            each["function_name"],
            f"v{each['revision']}" if each["revision"] else None,
            *(() if far else (each["pid"],)),
            each["state"],
            moments.ago(each["started"], now),
            each["inputs_done"],
            *(
                (each["machine_id"],)
                if far
                else (moments.ago(each["idle_since"], now), _devices(each))
            ),
        ),
        as_json=as_json,
        empty="No container runs.",
    )


def _devices(container: Mapping[str, Any]) -> str | None:
    """Return the numbers of a container's GPUs, with its part of one."""
    numbers = ", ".join(map(str, container["gpus"] or ()))
    part = container["gpu_memory"]
    return f"{numbers} ({part} MiB)" if numbers and part else numbers or None


def show_logs(
    context: typer.Context,
    container: ContainerArgument,
    follow: logs.FollowOption = False,
    everything: Annotated[
        bool, typer.Option("--all", help="All entries that are kept, not the last 100 alone.")
    ] = False,
    since: logs.SinceOption = None,
    until: logs.UntilOption = None,
    tail: logs.TailOption = None,
    search: logs.SearchOption = None,
    source: logs.SourceOption = None,
    timestamps: logs.TimestampsOption = False,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show a container's output: the last 100 entries, a range of time, or what comes."""
    session = session_of(context, env)
    request = logs.LogRequest(
        follow=follow,
        everything=everything,
        since=since,
        until=until,
        tail=tail,
        search=search,
        source=source,
        scope={"container": container},
    )
    logs.print_logs(session, request, logs.Margin(timestamps=timestamps), as_json=as_json)


def execute(
    context: typer.Context,
    container: ContainerArgument,
    command: Annotated[list[str], typer.Argument(metavar="CMD...", help="Program and arguments.")],
    env: EnvironmentOption = None,
) -> None:
    """Run a program as if in a container: with its environment and working directory, as its user.

    In the docker runtime it runs in the container itself. On a cloud, the way there is that of
    `cloudfn machine exec`, and nothing is read from here.
    """
    command = program_of(command)
    session = session_of(context, env)
    place = session.request("container_exec", container_id=container)
    session.close()
    if "machine" in place:
        raise typer.Exit(run_on_machine(session, place["machine"], _line(container, command)))
    if "docker" in place:
        terminal_too = ["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
        command = [*place["docker"], *terminal_too, place["container"], *command]
    try:
        session.host.execute(command, place["environ"], place["cwd"])
    except OSError as error:
        raise errors.NotFoundError(
            f"{command[0]} cannot be run in container {container}: {error.strerror}.",
            hint="The program is looked up on the container's PATH.",
        ) from None


def _line(container: str, command: Sequence[str]) -> str:
    """Return what the shell of a container's machine is to run."""
    from cloudfn.agent.docker.order import CONTAINER_LABEL, SOURCE

    label = f"{CONTAINER_LABEL}={container}"
    return join(["sh", "-c", _IN_CONTAINER, "sh", label, SOURCE, *command])


def stop(
    context: typer.Context,
    container: ContainerArgument,
    graceful: Annotated[
        bool,
        typer.Option(
            "--graceful", help="Let it finish what it runs; without it, that runs again elsewhere."
        ),
    ] = False,
    # Scripts written for Modal pass it.
    yes: Annotated[  # noqa: ARG001
        bool, typer.Option("--yes", "-y", help="Changes nothing: this command does not ask.")
    ] = False,
    env: EnvironmentOption = None,
) -> None:
    """Stop a container: its inputs are interrupted and run again in another one; exit hooks run.

    On a cloud its machine hears of it within 5 s.
    """
    session = session_of(context, env)
    session.request("container_stop", container_id=container, graceful=graceful)
    when = " when it has finished what it runs" if graceful else ""
    terminal.say(f"✓ Container {container} stops{when}.")
