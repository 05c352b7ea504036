"""The daemon dies by kill -9 at every step of an input's life, and its clients go on."""

import os
import signal
from contextlib import suppress
from typing import Any

import pytest

from tests.failure.daemon_fixtures import (
    APP,
    Background,
    World,
    check_once,
    collect,
    ended,
    wait_for,
    world,
)

__all__ = ["world"]
pytestmark = pytest.mark.integration

METHODS = ["remote", "map", "spawn", "spawn_map", "nested"]
ITEMS = list(range(6))


def begin(world: World, method: str, items: list[int]) -> Background[list[Any]]:
    """Have a client make a call and wait for its results."""
    if method == "nested":
        return Background(lambda: collect(world.function("parent"), "map", items))
    return Background(lambda: collect(world.function("work"), method, items))


def submitted(world: World) -> int:
    return sum(call["known"] for call in world.ask("call_list")["calls"])


def finished(world: World) -> int:
    return sum(call["finished"] for call in world.ask("call_list")["calls"])


@pytest.mark.parametrize("method", METHODS)
def test_kill_before_the_daemon_has_read_the_submission(world: World, method: str) -> None:
    world.deploy()
    function = world.function("parent" if method == "nested" else "work")
    function.hydrate()
    os.kill(world.pid, signal.SIGSTOP)
    how = "map" if method == "nested" else method
    call = Background(lambda: collect(function, how, ITEMS))
    # Stopped, it reads nothing: whatever was sent dies in its socket.
    world.kill()
    check_once(world, ITEMS, call.result(), deaths=1)


@pytest.mark.parametrize("method", METHODS)
def test_kill_while_inputs_run_and_others_wait(world: World, method: str) -> None:
    world.deploy()
    world.hold()
    call = begin(world, method, ITEMS)
    world.await_trace("begin", 2)
    world.kill()
    world.release()
    check_once(world, ITEMS, call.result(), deaths=1)
    # Those that had not begun are not touched by the death: at most the two running ones ran twice.
    assert sum(world.trace("begin").values()) <= len(ITEMS) + 2


@pytest.mark.parametrize("method", METHODS)
def test_kill_when_outcomes_are_sent_but_not_recorded(world: World, method: str) -> None:
    world.deploy()
    world.hold()
    call = begin(world, method, ITEMS)
    world.await_trace("begin", 2)
    os.kill(world.pid, signal.SIGSTOP)
    world.release()
    world.await_trace("end", 2)
    world.kill()
    check_once(world, ITEMS, call.result(), deaths=1)


@pytest.mark.parametrize("method", METHODS)
def test_kill_when_outcomes_are_recorded_but_not_delivered(world: World, method: str) -> None:
    world.deploy()
    name = "parent" if method == "nested" else "work"
    how = {"nested": "map", "remote": "remote"}.get(method, method)
    client = world.start(f"""
        import cloudfn, sys
        function = cloudfn.Function.from_name({APP!r}, {name!r})
        items = {ITEMS!r}
        if {how!r} == "remote":
            results = [function.remote(0)]
        elif {how!r} == "map":
            results = list(function.map(items))
        elif {how!r} == "spawn":
            results = cloudfn.FunctionCall.gather(*[function.spawn(item) for item in items])
        else:
            results = list(function.spawn_map(items).iter())
        print("results", repr(results))
    """)
    items = ITEMS[:1] if how == "remote" else ITEMS
    world.hold()
    world.await_trace("begin", min(2, len(items)))
    # One that is stopped sends nothing more.
    wait_for("all submitted", lambda: submitted(world) >= len(items))
    os.kill(client.pid, signal.SIGSTOP)
    world.release()
    wait_for("all recorded", lambda: finished(world) >= len(items))
    world.kill()
    os.kill(client.pid, signal.SIGCONT)
    output, _ = client.communicate(timeout=40)
    results = eval(output.split("results", 1)[1])
    check_once(world, items, results, deaths=1)
    if method != "nested":
        assert sum(world.trace("begin").values()) == len(items), "a recorded input ran again"


@pytest.mark.parametrize("method", METHODS)
def test_kill_after_everything_is_delivered(world: World, method: str) -> None:
    world.deploy()
    check_once(world, ITEMS, begin(world, method, ITEMS).result(), deaths=0)
    world.kill()
    more = [item + 100 for item in ITEMS]
    results = begin(world, method, more).result()
    assert [result[0] for result in results] == more
    assert max(world.trace("begin").values()) == 1


def test_five_kills_in_a_row_lose_nothing_and_double_nothing(world: World) -> None:
    world.deploy()
    items = list(range(60))
    calls = [begin(world, method, items) for method in ("map", "spawn_map")]
    for kills in range(1, 6):
        wait_for("progress", lambda kills=kills: len(world.trace("end")) >= 6 * kills)
        world.kill()
    for call in calls:
        results = call.result()
        assert [result[0] for result in results] == items
        assert len({token for _, token in results}) == len(items)
    assert max(world.trace("begin").values()) <= 2 * (1 + 5)


def test_a_second_kill_while_the_next_daemon_starts(world: World) -> None:
    world.deploy()
    world.hold()
    call = begin(world, "map", ITEMS)
    world.await_trace("begin", 2)
    first = world.kill()
    # The client starts the next one, which dies as soon as it has the lock.
    os.kill(wait_for("a second daemon", lambda: _other_daemon(world, first)), signal.SIGKILL)
    world.release()
    check_once(world, ITEMS, call.result(), deaths=2)


def _other_daemon(world: World, first: int) -> int:
    """Return the pid of a daemon after the first one, or 0: for a moment the lock names nobody."""
    with suppress(ValueError):
        return 0 if world.pid == first else world.pid
    return 0


def test_a_client_waits_through_the_deaths_of_several_daemons(world: World) -> None:
    world.set(CLOUDFN_CLIENT_GRACE=10)
    world.deploy()
    world.hold()
    call = begin(world, "remote", [1])
    world.await_trace("begin", 1)
    for _ in range(3):
        before = world.trace("begin").total()
        world.kill()
        wait_for("it runs again", lambda before=before: world.trace("begin").total() > before)
    world.release()
    check_once(world, [1], call.result(), deaths=3)


def test_every_acknowledged_spawn_finishes(world: World) -> None:
    world.deploy()
    world.hold()
    work = world.function("work")
    calls = [work.spawn(item) for item in range(20)]
    world.kill()
    world.close_clients()
    world.release()
    results = [world.call(call.object_id).get(timeout=40) for call in calls]
    check_once(world, list(range(20)), results, deaths=1)


def test_a_daemon_that_was_stopped_for_long_goes_on_without_blame(world: World) -> None:
    world.deploy("""
        @app.function(timeout=1)
        def quick(item):
            return work_on(item)
    """)
    call = begin(world, "map", ITEMS)
    wait_for("progress", lambda: world.trace("end"))
    pid = world.pid
    os.kill(pid, signal.SIGSTOP)
    quick = Background(lambda: world.function("quick").remote("late"))
    ended(pid, 2.5)  # longer than `timeout`, leases and patience
    os.kill(pid, signal.SIGCONT)
    check_once(world, [*ITEMS, "late"], [*call.result(), quick.result()], deaths=0)


def test_big_payloads_survive_the_daemon_and_leave_nothing(world: World) -> None:
    world.deploy("""
        @app.function(max_containers=2, scaledown_window=2)
        def reverse(data):
            work_on(len(data))
            return data[::-1]
    """)
    world.hold()
    reverse = world.function("reverse")
    blocks = [bytes([n]) * (200_000 + n) for n in range(4)]
    call = Background(lambda: list(reverse.map(blocks)))
    world.await_trace("begin", 2)
    world.kill()
    world.release()
    assert call.result() == [block[::-1] for block in blocks]
    wait_for("no blob left", lambda: not world.blobs())
