"""`cloudfn machine`: list, drain; the ways in are in `machine_shell.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from cloudfn import errors
from cloudfn.cli import machine_shell, moments, terminal
from cloudfn.cli.machine_shell import MachineArgument
from cloudfn.cli.options import EnvironmentOption, JsonOption, command_group
from cloudfn.cli.program_command import SETTINGS, ProgramCommand
from cloudfn.cli.session import Session, session_of

if TYPE_CHECKING:
    from cloudfn.providers.base import Cloud

#: seconds until a machine that lives has certainly heard its orders and said so
_HEARD = 60


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group("Look after the machines of an environment in a cloud.")
    app.command("list")(list_machines)
    app.command("drain")(drain)
    app.command("shell")(machine_shell.shell)
    app.command("exec", cls=ProgramCommand, context_settings=SETTINGS)(machine_shell.execute)
    app.command("logs")(machine_shell.show_logs)
    return app


def list_machines(
    context: typer.Context, as_json: JsonOption = False, env: EnvironmentOption = None
) -> None:
    """List the machines that there are, those that boot and those that leave among them."""
    from cloudfn.control.planner.survey import machine_list, survey

    session = session_of(context, env)
    cloud = _open(session)
    now = session.host.clock.wall()
    try:
        machines = machine_list(survey(cloud, now, chapters=0).snapshot)
    finally:
        cloud.close()
    terminal.print_listing(
        machines,
        ("ID", "CLASS", "STATE", "ZONE", "CONTAINERS", "INPUTS", "LAUNCHED", "HEARD", "VERSION"),
        lambda each: (
            each["machine_id"],
            each["machine_class"],
            _state(each),
            each["zone"],
            each["containers"],
            each["inputs"],
            moments.ago(each["launched"], now),
            moments.ago(each["heard"], now),
            each["version"],
        ),
        as_json=as_json,
        empty="There is no machine: nothing runs, and nothing bills by the hour.",
    )


def _state(machine: Mapping[str, Any]) -> str:
    """Say where a machine stands, and why the columns behind it are empty where they are."""
    if machine["silent_for"] is not None:
        return f"{machine['state']} for {moments.lasting(machine['silent_for'])}"
    if machine["state"] == "booting" and machine["launched"] is None:
        return "asked for"
    return str(machine["state"])


def drain(
    context: typer.Context,
    machine: MachineArgument,
    env: EnvironmentOption = None,
) -> None:
    """Have a machine finish what it runs and leave; what waits runs elsewhere."""
    from cloudfn.providers.machines import MachineState

    session = session_of(context, env)
    cloud = _open(session)
    clock = session.host.clock
    try:
        if not cloud.leadership.led(clock.wall()):
            cloud.leadership.wake()  # somebody has to end it when it is empty
        # The planner gives orders of its own until it hears that the machine drains.
        for _ in range(_HEARD):
            rows = {row.report.machine_id: row for row in cloud.machines.list()}
            if machine not in rows:
                raise errors.NotFoundError(
                    f"There is no machine {machine}, or its agent has not joined.",
                    hint="See `cloudfn machine list`.",
                )
            if rows[machine].report.state != MachineState.READY:
                terminal.say(f"✓ Machine {machine} takes nothing new, and leaves when it is empty.")
                return
            orders = cloud.machines.orders(machine)
            cloud.machines.order({machine: replace(orders, quotas={}, kept={}, drain=True)})
            clock.sleep(1)
    finally:
        cloud.close()
    raise errors.ConnectionError(
        f"Machine {machine} was told to drain, and has not said that it does.",
        hint="Look with `cloudfn machine list` when it was heard last.",
    )


def _open(session: Session) -> Cloud:
    from cloudfn.model.ids import mint

    return session.host.open_cloud(session.settings, mint("cl"))
