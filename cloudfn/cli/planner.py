"""`cloudfn planner`: status, run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudfn.cli import moments, terminal
from cloudfn.cli.options import EnvironmentOption, JsonOption, command_group
from cloudfn.cli.session import session_of

if TYPE_CHECKING:
    from cloudfn.control.planner.environment import Tick


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group("See what is planned for an environment in a cloud, or plan for it.")
    app.command("status")(status)
    app.command("run")(run)
    return app


def status(
    context: typer.Context, as_json: JsonOption = False, env: EnvironmentOption = None
) -> None:
    """Show who plans, what machines there are and cost, and what each pool gets, with reasons."""
    from cloudfn.control.planner.survey import described, survey
    from cloudfn.model.ids import mint

    session = session_of(context, env)
    cloud = session.host.open_cloud(session.settings, mint("cl"))
    now = session.host.clock.wall()
    try:
        found = described(survey(cloud, now))
    finally:
        cloud.close()
    if as_json:
        terminal.print_json(found)
        return
    who = f"a planner leads (epoch {found['epoch']})" if found["led"] else "nobody plans just now"
    state = "active" if found["active"] else "asleep"
    terminal.print_text(f"{session.settings.environment}: {state}, {who}; {found['cost']}")
    for note in found["notes"]:
        terminal.print_text(f"! {note}")
    if found["pools"]:
        terminal.print_table(
            ("POOL", "CONTAINERS", "DESIRED", "COMING", "WHY"),
            [_pool(each) for each in found["pools"]],
            empty="",
        )
    for chapter in found["story"]:
        for sentence in chapter["did"]:
            terminal.print_text(f"{moments.ago(chapter['at'], now)}: {sentence}")


def run(
    context: typer.Context,
    as_json: JsonOption = False,
    once: Annotated[
        bool, typer.Option("--once", help="Leave when nothing is left to do, as on Lambda.")
    ] = False,
    env: EnvironmentOption = None,
) -> None:
    """Plan for an environment until Ctrl-C; where another planner leads, wait for its end."""
    from cloudfn.control.planner.handler import open_planner, plan
    from cloudfn.model.ids import mint

    session = session_of(context, env)
    holder = mint("pl")
    cloud = session.host.open_cloud(session.settings, holder)
    planner = open_planner(cloud, holder, session.host.clock, session.settings)
    led: list[bool] = []

    def goes_on(tick: Tick) -> bool:
        if led != [tick.led]:
            led[:] = [tick.led]
            terminal.say("plans" if tick.led else "another planner leads: waits")
        for sentence in tick.did:
            if as_json:
                line = {"at": session.host.clock.wall(), "did": sentence}
                terminal.print_text(json.dumps(line))
            else:
                terminal.print_text(sentence)
        return not once or (tick.led and tick.active)

    try:
        plan(planner, session.host.clock, goes_on)
    finally:
        cloud.close()


def _pool(pool: Mapping[str, Any]) -> tuple[object, ...]:
    return pool["name"], pool["containers"], pool["desired"], pool["coming"], pool["reason"]
