"""`cloudfn machine shell|exec|logs`: SSH to a machine that has no open port."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from shlex import join
from typing import IO, TYPE_CHECKING, Annotated

import typer

from cloudfn import errors
from cloudfn.cli.options import EnvironmentOption, complete_machine, program_of
from cloudfn.cli.session import Session, session_of

if TYPE_CHECKING:
    from cloudfn.providers.base import Cloud
    from cloudfn.providers.ssh.connection import SshConnection

#: the exit status where nobody reads what comes: as by SIGPIPE
_NO_READER = 141
#: of the agent, as user-data makes it
_UNIT = "cloudfn-agent"

MachineArgument = Annotated[
    str,
    typer.Argument(metavar="MACHINE", help="Id of a machine.", autocompletion=complete_machine),
]
DirectOption = Annotated[
    bool,
    typer.Option("--direct", help="To its private address, from within the same network."),
]


def shell(
    context: typer.Context,
    machine: MachineArgument,
    direct: DirectOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Open a shell on a machine; its exit status is the command's."""
    from cloudfn.cli.raw_terminal import raw, resizes, size
    from cloudfn.providers.ssh.connection import Size

    stdin = sys.stdin.buffer
    with (
        _connected(session_of(context, env), machine, direct=direct) as connection,
        resizes() as resized,
        raw(stdin),
    ):
        status = connection.shell(lambda: Size(*size()), stdin, _out, resized)
    raise typer.Exit(status)


def execute(
    context: typer.Context,
    machine: MachineArgument,
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="Program and arguments.")
    ],
    direct: DirectOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Run a program on a machine; its output and its exit status are the command's.

    Nothing is read from here. For pipes and the like: -- sh -c '…'.
    """
    program = program_of(command)
    line = join(program)
    raise typer.Exit(run_on_machine(session_of(context, env), machine, line, direct=direct))


def run_on_machine(session: Session, machine: str, line: str, *, direct: bool = False) -> int:
    """Have a machine's shell run a line, and show what it says; return the exit status."""
    with _connected(session, machine, direct=direct) as connection:
        return connection.run(line, _out, _err)


def show_logs(
    context: typer.Context,
    machine: MachineArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as it comes, until Ctrl-C.")
    ] = False,
    tail: Annotated[int, typer.Option("--tail", "-n", min=1, help="How many lines.")] = 100,
    direct: DirectOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show what the agent of a machine says; what containers print is in `cloudfn app logs`."""
    command = ["journalctl", "--unit", _UNIT, "--no-pager", "--lines", str(tail)]
    if follow:
        command.append("--follow")
    line = join(command)
    raise typer.Exit(run_on_machine(session_of(context, env), machine, line, direct=direct))


@contextmanager
def _connected(session: Session, machine: str, *, direct: bool) -> Iterator[SshConnection]:
    from cloudfn.model.ids import mint

    cloud = session.host.open_cloud(session.settings, mint("cl"))
    try:
        with _connect(cloud, machine, direct=direct) as connection:
            yield connection
    finally:
        cloud.close()


def _connect(cloud: Cloud, machine: str, *, direct: bool) -> SshConnection:
    try:
        from cloudfn.providers.ssh.connection import KeyPair, SshConnection

        keys = KeyPair()
    except ModuleNotFoundError as error:
        raise errors.InvalidError(
            f"{error.name} is not installed, which the way to machines needs.",
            hint="pip install 'cloudfn[ssh]'",
        ) from error
    if cloud.reach is None:
        raise errors.UnimplementedError(
            f"The provider {cloud.name} lets nobody in to its machines.",
            hint="`cloudfn app logs` shows what containers print.",
        )
    report = next(
        (row.report for row in cloud.machines.list() if row.report.machine_id == machine), None
    )
    if report is None:
        raise errors.NotFoundError(
            f"There is no machine {machine}, or its agent has not joined.",
            hint="See `cloudfn machine list`.",
        )
    if direct and not report.address:
        raise errors.InvalidError(
            f"The agent of {machine} did not tell its private address.",
            hint="Leave --direct away.",
        )
    way = cloud.reach.way(machine, report.address if direct else "")
    user = cloud.reach.admit(machine, keys.public_line)
    return SshConnection(way, machine, report.host_keys, user, keys)


def _out(data: bytes) -> None:
    _write(sys.stdout.buffer, data)


def _err(data: bytes) -> None:
    _write(sys.stderr.buffer, data)


def _write(stream: IO[bytes], data: bytes) -> None:
    try:
        stream.write(data)
        stream.flush()
    except BrokenPipeError:
        raise typer.Exit(_NO_READER) from None  # as of `… | head`
