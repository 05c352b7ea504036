"""`cloudfn deploy`: keeps the app of a file until it is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cloudfn import errors
from cloudfn.cli import logs, moments, terminal
from cloudfn.cli.options import (
    AllowUnmetOption,
    AppFileArgument,
    EnvironmentOption,
    JsonOption,
    RuntimeOption,
    StrategyOption,
    check_strategy,
    command_group,
)
from cloudfn.cli.run import ModuleOption, url_lines
from cloudfn.cli.session import session_of

if TYPE_CHECKING:
    from cloudfn.sdk.app import App


def build() -> typer.Typer:
    """Return the command."""
    app = command_group()
    app.command("deploy", no_args_is_help=True)(deploy)
    return app


def deploy(
    context: typer.Context,
    file: AppFileArgument,
    name: Annotated[
        str | None, typer.Option(help="Name of the deployed app, instead of the App's own.")
    ] = None,
    tag: Annotated[str, typer.Option(help="Your mark for the history.")] = "",
    strategy: StrategyOption = "rolling",
    keep_overrides: Annotated[
        bool, typer.Option("--keep-overrides", help="Keep what update-autoscaler changed.")
    ] = False,
    module: ModuleOption = False,
    stream_logs: Annotated[
        bool, typer.Option("--stream-logs", help="Then show what it prints, until Ctrl-C.")
    ] = False,
    timestamps: logs.TimestampsOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would do, and do nothing.")
    ] = False,
    runtime: RuntimeOption = None,
    allow_unmet: AllowUnmetOption = False,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Deploy the app of a file: it can be called by name from any process, until it is stopped."""
    from cloudfn.cli.display import RunDisplay
    from cloudfn.cli.loading import ABORTING, open_program
    from cloudfn.cli.runnables import find_app
    from cloudfn.sdk.app_opening import Opening
    from cloudfn.sdk.context import enable_output

    check_strategy(strategy)
    if stream_logs and (as_json or dry_run):
        raise typer.BadParameter("--stream-logs goes neither with --json nor with --dry-run.")
    session = session_of(context, env)
    clock = session.host.clock
    started = clock.monotonic()
    program, client = open_program(session, file, module=module)
    app = find_app(program.module, program.name)
    if dry_run:
        from cloudfn.cli.foresight import show

        how = Opening("deployed", runtime, allow_unmet or None, tag, strategy, keep_overrides)
        show(app, client, name, how, as_json=as_json)
        return
    display = RunDisplay(clock, started=started, quiet=as_json, only_builds=True)
    try:
        with display, enable_output(sink=display.take):
            app.deploy(
                name=name,
                tag=tag,
                client=client,
                strategy=strategy,
                keep_overrides=keep_overrides,
                runtime=runtime,
                allow_unmet=allow_unmet or None,
            )
    except KeyboardInterrupt:
        terminal.say(ABORTING)
        raise
    _show(app, name or app.name, clock.monotonic() - started, as_json=as_json)
    if stream_logs:
        request = logs.LogRequest(follow=True, tail=1, scope={"app": app.app_id})
        logs.print_logs(session, request, logs.Margin(timestamps=timestamps), as_json=False)


def _show(app: App, name: str | None, seconds: float, *, as_json: bool) -> None:
    outcome = app.deployment
    if outcome is None:
        raise errors.InternalError("The engine did not say what came of the deploy.")
    functions = sorted([*app.registered_functions, *app.registered_classes])
    if as_json:
        terminal.print_json(
            {
                "app_id": outcome.app_id,
                "name": name,
                "revision": outcome.revision,
                "changed": outcome.changed,
                "functions": functions,
                "urls": app.urls,
            }
        )
        return
    if outcome.changed:
        terminal.say(f"✓ App {name} deployed in {moments.span(seconds)}.")
        terminal.say(f"  revision v{outcome.revision}, functions: {', '.join(functions) or 'none'}")
    else:
        terminal.say(f"✓ Deployment skipped: nothing changed. {name} is v{outcome.revision}.")
    for line in url_lines(app.urls):
        terminal.say(line)
