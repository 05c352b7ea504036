"""The daemon dies by kill -9 around the fire of a schedule: no run is lost, and none is doubled."""

from typing import Any

import pytest

from tests.failure.daemon_fixtures import APP, World, strace_or_skip, wait_for, world
from tests.failure.strace import Point, start_with_kill

__all__ = ["world"]
pytestmark = pytest.mark.integration

TICK = """
@app.function(schedule=cloudfn.Period(seconds=0.3), max_containers=2)
def tick():
    note("begin", cloudfn.current_function_call_id())
    note("end", cloudfn.current_function_call_id())
"""


def fires(world: World) -> list[dict[str, Any]]:
    """Return what the daemon noted of the schedule, the oldest first."""
    (schedule,) = world.ask("schedule_list", app=APP)["schedules"]
    reply = world.ask("schedule_history", schedule=schedule["schedule_id"], limit=1000)
    return list(reversed(reply["fires"]))


def await_fires(world: World, more: int) -> None:
    """Wait until so many more runs came to their end."""
    before = len(world.trace("end"))
    wait_for("more runs", lambda: len(world.trace("end")) >= before + more)


def check_accounts(world: World, deaths: int) -> None:
    """Each due time has one call, each call is noted, and each ran as its losses explain."""
    (schedule,) = world.ask("schedule_list", app=APP)["schedules"]
    world.ask("schedule_pause", schedules=[schedule["schedule_id"]], paused=True)
    wait_for("the end of all runs", lambda: all(fire["outcome"] for fire in fires(world)))
    noted = fires(world)
    calls = {call["call"]: call for call in world.ask("call_list", limit=1000)["calls"]}
    assert {fire["outcome"] for fire in noted} == {"returned"}
    assert len({fire["due"] for fire in noted}) == len({fire["call_id"] for fire in noted})
    assert {fire["call_id"] for fire in noted} == set(calls)
    assert all((call["known"], call["finished"], call["failed"]) == (1, 1, 0)
               for call in calls.values())  # fmt: skip
    begun = world.trace("begin")
    assert set(begun) == set(world.trace("end")) == set(calls)
    assert max(begun.values()) <= 1 + deaths


def test_kills_at_any_moment_neither_lose_nor_double_a_run(world: World) -> None:
    world.deploy(TICK)
    for _ in range(4):
        await_fires(world, 1)
        world.kill()
        assert world.ask("status")["pid"] == world.pid
    await_fires(world, 2)
    check_accounts(world, deaths=4)


@pytest.mark.parametrize(
    "point",
    # Of the thread that syncs the ledger, and of the one that notes what was fired; and between.
    [Point("fdatasync", 1), Point("fdatasync", 2), Point("pwrite64", 9)],
    ids=str,
)
def test_a_kill_between_a_call_and_the_note_of_it_changes_nothing(
    world: World, point: Point
) -> None:
    strace = strace_or_skip()
    world.deploy(TICK)
    world.stop()
    tracer = start_with_kill(strace, world, point)
    wait_for("its death", lambda: tracer.poll() is not None)
    assert world.ask("status")["pid"] == world.pid
    await_fires(world, 3)
    check_accounts(world, deaths=1)
