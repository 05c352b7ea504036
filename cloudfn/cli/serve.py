"""`cloudfn serve`: runs the app of a file, and puts each new text of it in the place of the old."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cloudfn.cli import terminal
from cloudfn.cli.logs import TimestampsOption
from cloudfn.cli.options import (
    AllowUnmetOption,
    AppFileArgument,
    EnvironmentOption,
    RuntimeOption,
    command_group,
)
from cloudfn.cli.run import ModuleOption, url_lines
from cloudfn.cli.session import Session, session_of

if TYPE_CHECKING:
    from cloudfn.cli.sources import Sources
    from cloudfn.sdk.app import App
    from cloudfn.sdk.client import Client

#: seconds between two looks at the files
_LOOK = 0.2
#: seconds between two signs of life to the daemon
_BEAT = 2.0


def build() -> typer.Typer:
    """Return the command."""
    app = command_group()
    app.command("serve", no_args_is_help=True)(serve)
    return app


def serve(
    context: typer.Context,
    file: AppFileArgument,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which to end; until Ctrl-C when omitted.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="How the app is listed while it runs.")
    ] = None,
    module: ModuleOption = False,
    timestamps: TimestampsOption = False,
    runtime: RuntimeOption = None,
    allow_unmet: AllowUnmetOption = False,
    # What this command itself calls, in a process that has not imported the old text.
    replace: Annotated[str | None, typer.Option(hidden=True, metavar="APP_ID")] = None,
    env: EnvironmentOption = None,
) -> None:
    """Run the app of a file, and take up each change of the file and its local imports."""
    from cloudfn.cli.display import RunDisplay
    from cloudfn.cli.loading import open_program
    from cloudfn.cli.runnables import find_app
    from cloudfn.cli.sources import Sources
    from cloudfn.sdk.context import enable_output

    session = session_of(context, env)
    clock = session.host.clock
    started = clock.monotonic()
    program, client = open_program(session, file, module=module)
    app = find_app(program.module, program.name)
    if replace is not None:
        # The line that changes belongs to the process that started this one.
        display = RunDisplay(clock, started=started, interactive=True)
        with display, enable_output(sink=display.take):
            _replace(app, replace, runtime, allow_unmet=allow_unmet)
        return
    sources = Sources(program)
    display = RunDisplay(clock, started=started, timestamps=timestamps)
    with (
        display,
        enable_output(sink=display.take),
        app.run(name=name, client=client, runtime=runtime, allow_unmet=allow_unmet or None),
    ):
        for line in url_lines(app.urls) or ["  The app has no web functions."]:
            terminal.say(line)
        terminal.say("Serving. Ctrl-C ends it.")
        words = [file, *(["-m"] if module else []), "--env", session.settings.environment]
        words += ["--runtime", runtime] if runtime else []
        words += ["--allow-unmet"] if allow_unmet else []
        try:
            _watch(session, client, sources, app, words, timeout)
        except KeyboardInterrupt:
            terminal.say("Disconnecting. This ends the app in a few seconds.")
            raise
    terminal.say("✓ Serving ended.")


def _watch(
    session: Session,
    client: Client,
    sources: Sources,
    app: App,
    words: list[str],
    timeout: float | None,
) -> None:
    """Replace the app whenever its files have changed, until the time is over.

    Raises:
        NotFoundError: Somebody stopped it.
    """
    from cloudfn.sdk.twins import run as carry_out

    clock = session.host.clock
    end = float("inf") if timeout is None else clock.monotonic() + timeout
    beat = clock.monotonic()
    while (now := clock.monotonic()) < end:
        clock.sleep(_LOOK)
        if now - beat >= _BEAT:
            beat = now
            # A daemon that died is started again by this, and goes on with the app.
            carry_out(client.ask("app_reattach", app_id=app.app_id))
        if not sources.changed():
            continue
        command = [sys.executable, "-P", "-m", "cloudfn", "serve", *words]
        done = subprocess.run(
            [*command, "--replace", str(app.app_id)], stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            terminal.say("The new text cannot be served; the old one goes on.")


def _replace(app: App, app_id: str, runtime: str | None, *, allow_unmet: bool) -> None:
    """Put the text that this process has imported in the place of the one that runs."""
    told = app.replace(app_id, runtime=runtime, allow_unmet=allow_unmet or None)
    if told["changed"]:
        terminal.say(f"✓ Reloaded as revision v{told['revision']}.")
        for line in url_lines(told["urls"]):
            terminal.say(line)
