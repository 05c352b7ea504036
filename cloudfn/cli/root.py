"""Assembles the commands; each noun's file is imported when one of its commands is used.

What a command raises ends here: cloudfn's own errors as `error:` and `hint:`, Ctrl-C as exit 130.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from cloudfn import errors
from cloudfn.cli.options import EnvironmentOption
from cloudfn.cli.providers import add_options, options
from cloudfn.cli.session import Host, Session, system_host

#: command → (module whose `build()` makes it, what `cloudfn --help` says of it)
_COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("cloudfn.cli.run", "Run a function or local entry point of a file."),
    "serve": ("cloudfn.cli.serve", "Run the app of a file, and take up changes as they are saved."),
    "deploy": ("cloudfn.cli.deploy", "Deploy the app of a file; it stays until it is stopped."),
    "app": ("cloudfn.cli.app", "List, follow, stop and roll back apps."),
    "function": ("cloudfn.cli.function", "Look at functions, and change how they scale."),
    "container": ("cloudfn.cli.container", "List, follow, enter and stop containers."),
    "call": ("cloudfn.cli.call", "List calls, get their results, cancel them."),
    "update-autoscaler": ("cloudfn.cli.autoscaler", "Change how a deployed function scales, now."),
    "schedule": ("cloudfn.cli.schedule", "List, pause, run and foresee what runs by itself."),
    "stats": ("cloudfn.cli.stats", "Show a function's backlog and containers."),
    "image": ("cloudfn.cli.image", "Build images, list and remove them."),
    "secret": ("cloudfn.cli.secrets", "Keep secrets for the functions that name them."),
    "volume": ("cloudfn.cli.volumes", "Move files in and out of volumes."),
    "dict": ("cloudfn.cli.dicts", "Look into dicts, and look after them."),
    "queue": ("cloudfn.cli.queues", "Look into queues, and look after them."),
    "environment": ("cloudfn.cli.environment", "List, make and delete separate worlds."),
    "infra": ("cloudfn.cli.infra", "Make and remove an environment in your AWS account."),
    "destroy": ("cloudfn.cli.destroy", "Remove an environment from your AWS account, whole."),
    "machine": ("cloudfn.cli.machine", "List, enter and drain the machines of an environment."),
    "planner": ("cloudfn.cli.planner", "See what is planned for an environment, or plan for it."),
    "daemon": ("cloudfn.cli.daemon", "Start, stop and look at this machine's engine."),
    "rehearse": ("cloudfn.cli.rehearse", "Try everything on an emulated AWS on this machine."),
    "doctor": ("cloudfn.cli.doctor", "Check this machine, or with --provider aws an environment."),
}


#: commands that are about this machine
_LOCAL = frozenset({"daemon", "destroy", "infra", "rehearse"})


class _LazyGroup(TyperGroup):
    """The root: knows its commands' names, and imports a command's module when it is used."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's signature
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - Typer's signature
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name not in self.commands:
            command = get_command(import_module(_COMMANDS[cmd_name][0]).build())
            command.name = cmd_name
            if cmd_name not in _LOCAL:
                # An environment is what these are about, not where they are.
                add_options(command, everywhere=cmd_name == "environment")
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in _COMMANDS.items()])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command {name!r}.{_suggestion(name)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        session = ctx.find_object(Session)
        try:
            return super().invoke(ctx)
        except errors.Error as error:
            _report(error, session)
            raise typer.Exit(1) from None
        finally:
            if session is not None:
                session.close()


def build() -> typer.Typer:
    """Return the root command."""
    app = typer.Typer(
        cls=_LazyGroup,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    return app


def main(argv: Sequence[str], host: Host | None = None) -> int:
    """Run the command that `argv` says and return its exit code: 0, 1, 2 or 130."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character shows an escape instead of ending the command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    session = Session(host or system_host())
    try:
        command = get_command(build())
        command.params += options()
        command.main(args=list(argv), prog_name="cloudfn", obj=session)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 130
    return 0


def _version(wanted: bool) -> None:
    if not wanted:
        return
    from cloudfn.wire.version import VERSION

    print(f"cloudfn {VERSION}")
    raise typer.Exit


def _root(
    context: typer.Context,
    env: EnvironmentOption = None,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option("--version", help="Show the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Modal's way of working on machines that you own."""
    session = context.find_object(Session)
    if session is not None and env is not None:
        session.environment = env


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, _COMMANDS, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(_COMMANDS)}."


def _report(error: errors.Error, session: Session | None) -> None:
    from cloudfn.cli.terminal import say_error

    if session is not None and session.host.shows_tracebacks():
        from cloudfn.cli.results import tell_failure

        tell_failure(error, full=True)
    say_error(error.message, error.hint)
