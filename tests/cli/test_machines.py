"""`cloudfn machine` and `cloudfn planner`, against a cloud in memory."""

import json
from dataclasses import replace

import pytest

from cloudfn.control.planner.fleet_snapshot import Asked, FleetMemory
from cloudfn.control.planner.story import Story
from cloudfn.control.stores.ring import Ring
from cloudfn.providers.machines import MachineReport, MachineState, Orders, PoolReport
from tests.cli.conftest import NOW
from tests.unit.planner_cloud import World


@pytest.fixture
def world(cli):
    made = World()
    cli.cloud = made.cloud
    return made


REPORT = MachineReport(
    "small-1",
    "small",
    MachineState.READY,
    2.0,
    4_096,
    zone="eu-central-1a",
    version="0.1.0",
    joined=NOW,
    pools={"fu-1@1": PoolReport(1, 1, 2, 2, 3)},
)


def join(world, **more):
    world.machines.join(replace(REPORT, **more), NOW, 30.0)


def test_machines_are_listed(cli, world):
    world.fleet.grow("small", 2, "t")
    join(world)

    shown = cli("machine", "list")
    listed = cli("machine", "list", "--json").document

    assert shown.out.splitlines() == [
        "ID       CLASS  STATE    ZONE           CONTAINERS  INPUTS  LAUNCHED  HEARD     VERSION",
        "small-1  small  serving  eu-central-1a  4           5       just now  just now  0.1.0",
        "small-2  small  booting  z1             0           0       just now  -         -",
    ]
    assert [each["machine_id"] for each in listed] == ["small-1", "small-2"]
    assert listed[0]["price"] == 0.1
    assert world.closed == 2


def test_a_machine_that_says_nothing_is_listed_with_how_long_until_it_is_gone(cli, world):
    world.fleet.grow("small", 2, "t")
    for machine_id in ("small-1", "small-2"):
        world.machines.join(replace(REPORT, machine_id=machine_id), NOW - 100, 30.0)
    world.fleet.kill("small-2")
    world.clock.advance(1)

    shown = cli("machine", "list")
    listed = cli("machine", "list", "--json").document

    [row] = shown.out.splitlines()[1:]
    assert row.startswith("small-1  small  silent for 1m 40s  eu-central-1a  4")
    assert [(each["state"], each["silent_for"], each["joined"]) for each in listed] == [
        ("silent", 100.0, NOW)
    ]


def test_a_machine_that_was_asked_for_and_is_not_listed_yet_says_so(cli, world):
    asked = Asked("small", NOW - 2)
    Story(Ring(world.dicts)).remember(FleetMemory(asked=(asked,)), NOW)

    [row] = cli("machine", "list").out.splitlines()[1:]

    assert row.split()[:4] == ["-", "small", "asked", "for"]


def test_it_is_said_that_there_is_none(cli, world):
    shown = cli("machine", "list")

    assert (shown.code, shown.out) == (0, "")
    assert shown.err == "There is no machine: nothing runs, and nothing bills by the hour.\n"


def test_a_machine_is_drained_when_it_says_so_whatever_the_planner_orders_meanwhile(cli, world):
    join(world)

    def obey():
        slept = len(cli.clock.slept)
        if slept == 2:
            world.machines.order({"small-1": Orders(epoch=1, quotas={"fu-1@1": 3})})
        if slept == 4:
            assert world.machines.orders("small-1").drain
            join(world, state=MachineState.DRAINING)

    cli.clock.on_sleep = obey
    woken = []
    world.leadership.wake = lambda: woken.append(1)
    done = cli("machine", "drain", "small-1")

    assert done.code == 0
    assert len(woken) == 1
    assert done.err == "✓ Machine small-1 takes nothing new, and leaves when it is empty.\n"
    assert len(cli.clock.slept) == 4


def test_a_machine_that_is_not_there_cannot_be_drained(cli, world):
    done = cli("machine", "drain", "i-1")

    assert done.code == 1
    assert done.err.startswith("error: There is no machine i-1")


def test_a_machine_that_does_not_hear_is_said(cli, world):
    join(world)

    done = cli("machine", "drain", "small-1")

    assert done.code == 1
    assert "has not said that it does" in done.err


def test_what_is_planned_is_shown_with_its_reasons_and_changes_nothing(cli, world):
    world.submit(3)

    shown = cli("planner", "status")
    document = cli("planner", "status", "--json").document

    assert shown.out.splitlines() == [
        "main: active, nobody plans just now; no machines: nothing bills by the hour",
        "POOL    CONTAINERS  DESIRED  COMING  WHY",
        "jobs/f  0           3        3       3 waiting and 0 running need 3; 3 when machines have"
        " booted",
    ]
    assert document["pools"][0]["limiting"] == "need"
    assert world.fleet.instances() == []


def test_somebody_plans_until_nothing_is_left_to_do(cli, world):
    done = cli("planner", "run", "--once")

    assert (done.code, done.err) == (0, "plans\n")
    assert world.closed == 1
    assert not world.leadership.led(NOW)


def test_what_is_done_is_told_line_by_line(cli, world):
    world.submit(1)

    def interrupt():
        raise KeyboardInterrupt

    cli.clock.on_sleep = interrupt
    done = cli("planner", "run", "--json")

    assert done.code == 130
    assert json.loads(done.out) == {"at": NOW, "did": "1 machine of small is to come, for jobs/f"}
    assert len(world.fleet.instances()) == 1
    assert not world.leadership.led(NOW)
    assert world.closed == 1


def test_an_environment_of_this_machine_has_no_machines(cli):
    done = cli("machine", "list")

    assert done.code == 1
    assert "on this machine alone" in done.err
