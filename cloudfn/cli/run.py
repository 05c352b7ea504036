"""`cloudfn run`: runs a function or local entry point of a file, with its app open meanwhile."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudfn import errors
from cloudfn.cli import terminal
from cloudfn.cli.options import (
    AllowUnmetOption,
    EnvironmentOption,
    RuntimeOption,
    command_group,
)
from cloudfn.cli.session import Session, session_of

if TYPE_CHECKING:
    from cloudfn.cli.display import RunDisplay
    from cloudfn.cli.runnables import Runnable
    from cloudfn.sdk.client import Client
    from cloudfn.sdk.program import Program

ModuleOption = Annotated[
    bool, typer.Option("-m", help="FILE is a module's name, as in pkg.mod.", show_default=False)
]
_DISCONNECTING = "Disconnecting. This ends the app in a few seconds."
_DETACHING = "Shutting down the client."
_OWN_OPTIONS = {
    "--detach", "-d", "--quiet", "-q", "--write-result", "-w", "-m", "--env", "-e", "--interactive",
    "-i", "--timestamps", "--runtime", "--allow-unmet",
}  # fmt: skip


def build() -> typer.Typer:
    """Return the command."""
    app = command_group()
    # Everything after FILE belongs to the program.
    words = {"ignore_unknown_options": False, "allow_interspersed_args": False}
    app.command("run", context_settings=words, no_args_is_help=True)(run)
    return app


def run(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE[::NAME]", help="A file, and what to run of it.")
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ARGS]...", help="The program's own; see FILE[::NAME] --help."),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="The app outlives this command.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show only the program's own output.")
    ] = False,
    write_result: Annotated[
        Path | None,
        typer.Option("--write-result", "-w", help="Write the result, str or bytes, to this file."),
    ] = None,
    module: ModuleOption = False,
    interactive: Annotated[
        bool,
        typer.Option("--interactive", "-i", help="cloudfn.interact() reads from this terminal."),
    ] = False,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="Put the time before each line of containers.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="How the app is listed while it runs.")
    ] = None,
    runtime: RuntimeOption = None,
    allow_unmet: AllowUnmetOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Run a function or local entry point of a file; its functions run in containers."""
    from cloudfn.cli.display import RunDisplay
    from cloudfn.cli.loading import open_program
    from cloudfn.sdk.entrypoint import UsageError

    if interactive and (quiet or detach):
        raise typer.BadParameter("--interactive goes neither with --quiet nor with --detach.")
    session = session_of(context, env)
    started = session.host.clock.monotonic()
    program, client = open_program(session, file, module=module)
    words = arguments or []
    try:
        work = _prepare(program, file, words)
    except UsageError as error:
        terminal.say_error(error.message, _misplaced(words))
        raise typer.Exit(error.exit_code) from None
    if work is None:
        return
    display = RunDisplay(
        session.host.clock,
        started=started,
        quiet=quiet,
        interactive=interactive,
        timestamps=timestamps,
    )
    how = _How(detach, interactive, name, runtime, allow_unmet or None)
    _Run(session, client, work, display, how).carry_out(write_result)


class _Work:
    """What to do once the app runs: a runnable and the arguments that it gets."""

    def __init__(self, runnable: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.runnable = runnable
        self._args = args
        self._kwargs = kwargs

    @property
    def is_function(self) -> bool:
        """Whether it runs in a container, rather than here."""
        from cloudfn.sdk.function import Function

        return isinstance(self.runnable.target, Function)

    def do(self, *, detach: bool) -> Any:
        """Run it, and return what it returns."""
        from cloudfn.sdk.function import Function

        target = self.runnable.target
        if not isinstance(target, Function):
            return _completed(target.get_raw_f(), self._args, self._kwargs)
        if detach:
            # A spawned input goes on when nobody waits for it any more.
            return target.spawn(*self._args, **self._kwargs).get()
        return target.remote(*self._args, **self._kwargs)


@dataclass(frozen=True, slots=True)
class _How:
    """How the app is opened."""

    detach: bool
    interactive: bool
    #: how it is listed
    name: str | None
    runtime: str | None
    allow_unmet: bool | None


class _Run:
    """One run of an app, from its start to the summary."""

    def __init__(
        self,
        session: Session,
        client: Client,
        work: _Work,
        display: RunDisplay,
        how: _How,
    ) -> None:
        self._session = session
        self._client = client
        self._work = work
        self._app = work.runnable.app
        self._how = how
        self._display = display
        self._app_id: str | None = None

    def carry_out(self, write_result: Path | None) -> None:
        """Run, show the result, write the summary.

        Raises:
            Error: The engine or the program could not go on.
            Exit: User code raised (exit code 1); its traceback was printed.
            KeyboardInterrupt: Ctrl-C; what becomes of the app was said.
        """
        from cloudfn.cli.results import show_result, tell_failure

        succeeded = False
        try:
            result = self._with_app()
            if write_result is not None or self._work.is_function:
                show_result(result, write_to=write_result)
            succeeded = True
        except errors.Error:
            raise
        except Exception as error:  # noqa: BLE001 - whatever user code raised
            tell_failure(error, full=self._session.settings.full_traceback)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            if self._app_id and not self._how.detach:
                terminal.say("App aborted.")
            raise
        finally:
            self._conclude(succeeded=succeeded)

    def _conclude(self, *, succeeded: bool) -> None:
        if self._app_id is None:
            return  # it never ran
        if self._how.detach:
            self._display.say(_detached(self._app_id))
        else:
            self._display.finish(succeeded=succeeded)

    def _with_app(self) -> Any:
        from cloudfn.cli.loading import ABORTING
        from cloudfn.sdk.context import enable_output

        opening = True
        try:
            with self._display, enable_output(sink=self._display.take), self._running():
                opening = False
                self._app_id = self._app.app_id
                for line in url_lines(self._app.urls):
                    self._display.say(line)
                return self._interruptible()
        except KeyboardInterrupt:
            if opening:
                terminal.say(ABORTING)
            raise
        finally:
            self._display.take(self._app.summary)

    def _running(self) -> Any:
        how = self._how
        return self._app.run(
            name=how.name,
            client=self._client,
            detach=how.detach,
            interactive=how.interactive,
            runtime=how.runtime,
            allow_unmet=how.allow_unmet,
        )

    def _interruptible(self) -> Any:
        try:
            return self._work.do(detach=self._how.detach)
        except KeyboardInterrupt:
            terminal.say(_DETACHING if self._how.detach else _DISCONNECTING)
            raise


def url_lines(urls: Mapping[str, str]) -> list[str]:
    """Return a line for each web function."""
    return [f"  {name} → {url}" for name, url in sorted(urls.items())]


def _prepare(program: Program, file: str, words: list[str]) -> _Work | None:
    """Return what to run, or None where only its help was wanted, which is printed then.

    Raises:
        UsageError: It is not clear what to run, or the words do not fit it.
    """
    from cloudfn.cli.runnables import find_runnable
    from cloudfn.sdk.cls_run import MethodTarget
    from cloudfn.sdk.entrypoint import UsageError, parse_arguments, render_help, wants_help

    runnable = find_runnable(program.module, program.name)
    raw = runnable.target.get_raw_f()
    if wants_help(raw, words):
        print(render_help(runnable.name, raw, f"cloudfn run {file.partition('::')[0]}"), end="")
        return None
    yields = inspect.isgeneratorfunction(raw) or inspect.isasyncgenfunction(raw)
    if getattr(runnable.target, "is_generator", False) or yields:
        raise UsageError(
            f"{runnable.name} is a generator function; those cannot be run. "
            "Iterate over its `.remote_gen(…)` in a local entry point.",
            1,
        )
    args, kwargs = parse_arguments(raw, words)
    if isinstance(runnable.target, MethodTarget):
        method, kwargs = runnable.target.instance(kwargs)
        runnable = replace(runnable, target=method)
    return _Work(runnable, args, kwargs)


def _completed(raw: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a function here returns, in an event loop of its own where it is async."""
    if not inspect.iscoroutinefunction(raw):
        return raw(*args, **kwargs)
    import asyncio

    return asyncio.run(raw(*args, **kwargs))


def _misplaced(words: list[str]) -> str | None:
    own = [word for word in words if word.partition("=")[0] in _OWN_OPTIONS]
    return f"If {own[0]} is meant for cloudfn, put it before FILE." if own else None


def _detached(app_id: str | None) -> str:
    return (
        f"App {app_id} goes on until its calls are done.\n"
        f"hint: `cloudfn app logs {app_id} --follow` shows what it prints, "
        f"`cloudfn app stop {app_id}` ends it."
    )
