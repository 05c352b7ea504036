"""A map with a name goes on where it ended, whoever died: its client, the daemon, both."""

import json
import signal

import pytest

from tests.failure.daemon_fixtures import CLOCK, PATIENCE, Background, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

ITEMS = list(range(60))

CLIENT = """
import json
import sys

import cloudfn

work = cloudfn.Function.from_name("victim", "work")
for item, token in work.map(range(60), resume="steps", window=10):
    print(json.dumps([item, token]), flush=True)
"""


def resumed(world: World) -> list:
    return list(world.function("work").map(ITEMS, resume="steps", window=10))


def check(world: World, results: list, told: list) -> None:
    """Each item has one result, in order, and those that were told are still the same."""
    assert [item for item, _ in results] == ITEMS
    assert [list(result) for result in results[: len(told)]] == told
    ends = world.trace("end")
    assert set(ends) == {str(item) for item in ITEMS}
    assert all(ends[str(item)] == 1 for item, _ in told), "what was finished ran again"


def told_by(child, count: int) -> list:
    return [json.loads(child.stdout.readline()) for _ in range(count)]


def test_the_client_dies_in_the_middle(world: World) -> None:
    world.deploy()
    child = world.start(CLIENT)
    told = told_by(child, 20)
    child.send_signal(signal.SIGKILL)
    child.wait()

    results = resumed(world)
    check(world, results, told)
    assert resumed(world) == results
    # Nobody but the client died: its inputs went on, and none ran twice.
    assert set(world.trace("begin").values()) == {1}


def test_the_daemon_dies_under_a_client_that_waits(world: World) -> None:
    world.deploy()
    work = Background(lambda: resumed(world))
    world.await_trace("end", 20)
    world.kill()

    check(world, work.result(), [])
    assert world.ask("call_list")["calls"][0]["finished"] == len(ITEMS)


def test_client_and_daemon_die_and_another_revision_is_there(world: World) -> None:
    world.deploy()
    child = world.start(CLIENT)
    told = told_by(child, 15)
    child.send_signal(signal.SIGKILL)
    child.wait()
    world.kill()
    world.deploy("# another text\n")

    check(world, resumed(world), told)


def test_a_client_that_comes_while_another_is_there_takes_nothing_away(world: World) -> None:
    world.deploy()
    world.hold()
    child = world.start(CLIENT)
    world.await_trace("begin", 2)
    with pytest.raises(Exception, match="Another client runs the map 'steps'"):
        resumed(world)
    child.send_signal(signal.SIGKILL)
    child.wait()
    world.release()

    def gone() -> bool:
        CLOCK.sleep(0.01)
        return not any(call["finished"] < call["known"] for call in calls(world))

    wait_for("what the client had sent is done", gone, PATIENCE)
    check(world, resumed(world), [])


def calls(world: World) -> list:
    return world.ask("call_list")["calls"]
