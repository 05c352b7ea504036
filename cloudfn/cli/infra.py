"""`cloudfn infra`: makes, changes and removes an environment in your AWS account."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudfn.cli import terminal
from cloudfn.cli.objects import confirm
from cloudfn.cli.options import EnvironmentOption, JsonOption, YesOption, command_group
from cloudfn.cli.session import session_of
from cloudfn.clock import SystemClock
from cloudfn.settings import terraform_environ

if TYPE_CHECKING:
    from cloudfn.providers.aws.infra.events import Event
    from cloudfn.providers.aws.infra.steps import Infra
    from cloudfn.providers.aws.infra.terraform import Run


def _complete_example(incomplete: str) -> list[str]:
    from cloudfn.providers.aws.infra.workspace import EXAMPLES

    return [name for name in EXAMPLES if name.startswith(incomplete)]


def _check_example(example: str) -> str:
    from cloudfn.providers.aws.infra.workspace import EXAMPLES

    if example not in EXAMPLES:
        raise typer.BadParameter(f"{example!r} is none of {', '.join(EXAMPLES)}.")
    return example


FolderOption = Annotated[
    Path, typer.Option("--dir", metavar="FOLDER", help="Where its Terraform files are.")
]
RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="NAME",
        help="Region, instead of $CLOUDFN_REGION or what AWS's own settings name.",
    ),
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="Profile of ~/.aws/config.")
]
_FOLDER = Path("cloudfn-infra")
_SIGNS = {"ok": "✓", "warn": "!", "fail": "✗"}
_MARKS = {"create": "+", "update": "~", "replace": "±", "delete": "-", "read": "<"}


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group(
        "Look after an environment in your own AWS account: Terraform makes what it consists of."
    )
    for command in (init, plan, apply, destroy, outputs, doctor):
        app.command(command.__name__)(command)
    return app


def init(
    context: typer.Context,
    example: Annotated[
        str,
        typer.Option(
            metavar="minimal|gpu|spot|existing-vpc",
            help="What a new folder begins as.",
            callback=_check_example,
            autocompletion=_complete_example,
        ),
    ] = "minimal",
    state_bucket: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Bucket for Terraform's state; made where it lacks, else left as it is.",
        ),
    ] = None,
    folder: FolderOption = _FOLDER,
    region: RegionOption = None,
    profile: ProfileOption = None,
    env: EnvironmentOption = None,
) -> None:
    """Make the folder to describe an environment in, and the bucket for Terraform's state.

    Doing it again brings cloudfn's modules in the folder up to date, and leaves your files alone.
    """
    infra = _infra(context, folder, region, profile, env, state_bucket)
    workspace = infra.init(example, Progress())
    terminal.say(f"✓ {workspace.folder} describes environment {workspace.environment}.")
    terminal.say("  Look at main.tf in it, then: cloudfn infra apply")


def plan(
    context: typer.Context,
    folder: FolderOption = _FOLDER,
    region: RegionOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show what `apply` would do, and do nothing."""
    run = _infra(context, folder, region, profile, env).plan(Progress(quiet=as_json))
    if as_json:
        terminal.print_json(_as_json(run))
    else:
        terminal.say(_sentence(run))


def apply(
    context: typer.Context,
    folder: FolderOption = _FOLDER,
    region: RegionOption = None,
    profile: ProfileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Make the environment as its folder says, or change it so."""
    infra = _infra(context, folder, region, profile, env)
    if not yes:
        foreseen = infra.plan(Progress(quiet=as_json))
        terminal.say(_sentence(foreseen))
        if foreseen.summary is not None and not foreseen.summary.empty:
            confirm("Do it?")
    run = infra.apply(Progress(quiet=as_json))
    if as_json:
        terminal.print_json({**_as_json(run), "outputs": infra.outputs()})
        return
    terminal.say(f"✓ {_sentence(run)}")
    terminal.say("  Use it: cloudfn deploy app.py --provider aws")


def destroy(
    context: typer.Context,
    folder: FolderOption = _FOLDER,
    region: RegionOption = None,
    profile: ProfileOption = None,
    yes: YesOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Remove the environment with all its data: machines, queues, images, calls, volumes, secrets.

    Nothing is left that bills, and nothing can be brought back.
    """
    from cloudfn import errors

    name = session_of(context, env).settings.environment
    if not yes:
        typed = typer.prompt(f"Everything in environment {name} goes, for ever. Type its name")
        if typed.strip() != name:
            terminal.say_error("That is not its name; nothing was removed.")
            raise typer.Exit(1)
    left = _infra(context, folder, region, profile, env).destroy(Progress())
    if left:
        raise errors.ExecutionError(
            f"Still there: {', '.join(map(str, left))}.",
            hint="Machines and queues take a minute to go; see again with `cloudfn infra doctor`.",
        )
    terminal.say(f"✓ Nothing of environment {name} is left.")


def outputs(
    context: typer.Context,
    folder: FolderOption = _FOLDER,
    region: RegionOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Show where everything is: the parameter that a laptop reads."""
    told = _infra(context, folder, region, profile, env).outputs()
    if as_json:
        terminal.print_json(told)
        return
    terminal.print_table(("NAME", "VALUE"), list(_rows(told)), empty="Nothing.")


def doctor(
    context: typer.Context,
    folder: FolderOption = _FOLDER,
    region: RegionOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
    env: EnvironmentOption = None,
) -> None:
    """Check credentials, permissions, quotas, drift and orphans; exit code 1 where one fails."""
    found = []
    for finding in _infra(context, folder, region, profile, env).doctor(Progress(quiet=True)):
        found.append(finding)
        if not as_json:
            terminal.print_text(f"{_SIGNS[finding.level]} {finding.check}: {finding.text}")
            if finding.level != "ok" and finding.hint:
                terminal.print_text(f"  hint: {finding.hint}")
    if as_json:
        terminal.print_json([asdict(finding) for finding in found])
    if any(finding.level == "fail" for finding in found):
        raise typer.Exit(1)


class Progress:
    """Shows what Terraform does: a line per resource, and one that moves while it takes time.

    Args:
        quiet: Show warnings and errors alone.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._moving = terminal.is_terminal(sys.stderr) and not quiet
        self._clock = SystemClock()
        self._open: dict[str, float] = {}
        self._errors = 0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        from cloudfn.providers.aws.infra.events import Planned, Problem, Said
        from cloudfn.providers.aws.infra.events import Progress as Step

        match event:
            case Problem(severity="error") if not self._errors:
                self._errors = 1  # the command ends with this one
            case Problem(severity, summary, detail, address, where):
                place = address or where
                text = f"{severity}: {f'{place}: ' if place else ''}{summary}"
                self._line(f"{text}\n{detail}".rstrip())
            case Planned(address, action, drift) if not self._quiet and action in _MARKS:
                self._line(f"{_MARKS[action]} {address}{' (changed by others)' if drift else ''}")
            case Step(address, action, state, elapsed) if not self._quiet:
                self._step(address, action, state, elapsed)
            case Said(text) if not self._quiet and text:
                self._line(text)

    def _step(self, address: str, action: str, state: str, elapsed: float) -> None:
        now = self._clock.monotonic()
        if state in ("begun", "goes on"):
            self._open.setdefault(address, now)
            self._show_open(now)
            return
        self._open.pop(address, None)
        sign = "✓" if state == "done" else "✗"
        self._line(f"{sign} {action} {address} ({elapsed:.0f} s)")
        self._show_open(now)

    def _show_open(self, now: float) -> None:
        if not self._moving or not self._open:
            return
        oldest = min(self._open, key=lambda address: self._open[address])
        more = f" and {len(self._open) - 1} more" if len(self._open) > 1 else ""
        text = f"… {oldest}{more} ({now - self._open[oldest]:.0f} s)"
        print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)

    def _line(self, text: str) -> None:
        if self._moving:
            print("\r\x1b[K", end="", file=sys.stderr)
        terminal.say(text)


def _infra(
    context: typer.Context,
    folder: Path,
    region: str | None,
    profile: str | None,
    env: str | None,
    state_bucket: str | None = None,
) -> Infra:
    from cloudfn.providers.registry import not_installed

    try:
        from cloudfn.providers.aws.infra.base import Wanted
        from cloudfn.providers.aws.infra.steps import Infra
        from cloudfn.providers.aws.keys import make_key
    except ModuleNotFoundError as error:
        raise not_installed(error, "aws") from error

    settings = session_of(context, env).settings
    wanted = Wanted(folder, settings.environment, region or settings.region, profile, state_bucket)
    cache = settings.root / "@infra"
    return Infra(
        wanted,
        terraform_environ(),
        cache,
        lambda clients, environment, kms_key: make_key(clients.of("ssm"), environment, kms_key),
    )


def _sentence(run: Run) -> str:
    summary = run.summary
    if summary is None or summary.empty:
        return "Nothing to change."
    verbs = {"plan": "to {}", "apply": "{}ed", "destroy": "{}ed"}
    form = verbs.get(summary.operation, "{}")
    counts = (("add", summary.add), ("change", summary.change), ("remove", summary.remove))
    words = [f"{count} {form.format(verb).replace('eed', 'ed')}" for verb, count in counts if count]
    return f"{', '.join(words)}."


def _as_json(run: Run) -> dict[str, Any]:
    return {
        "changes": [asdict(each) for each in run.planned],
        "summary": None if run.summary is None else asdict(run.summary),
    }


def _rows(told: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each value with the names that lead to it."""
    for name, value in sorted(told.items()):
        if isinstance(value, dict):
            yield from _rows(value, f"{path}{name}.")
        else:
            words = value if isinstance(value, list) else [value]
            yield f"{path}{name}", ", ".join(map(str, words))
