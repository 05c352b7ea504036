"""Limits hold exactly, whoever races for them, and whoever dies while holding a place."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cloudfn import errors
from cloudfn.sdk.connection import Connection
from cloudfn.sdk.function import Function
from cloudfn.sdk.records import FunctionStats
from tests.failure.daemon_fixtures import APP, Background, World, wait_for, world

__all__ = ["world"]
pytestmark = [
    pytest.mark.integration,
    # A map that a limit slows down says so, which is what happens here all the time.
    pytest.mark.filterwarnings("ignore::cloudfn.errors.ServerWarning"),
]

STRUGGLE = """
@app.function(max_containers=4, scaledown_window=2)
def nap(item):
    # Long enough to be handed over one at a time: what a container gives back waits once more.
    time.sleep(0.03)
    return item
"""


class Peaks:
    """The most that was ever seen of what the limits are about."""

    def __init__(self) -> None:
        self.pending = 0
        self.total = 0
        self.samples = 0

    def look(self, function: Function) -> None:
        stats = function.get_current_stats()
        self.pending = max(self.pending, stats.backlog)
        self.total = max(self.total, stats.backlog + stats.num_running_inputs)
        self.samples += 1


@contextmanager
def watched(world: World, name: str) -> Iterator[Peaks]:
    """Look at a function's stats as often as possible, beside everything else."""
    peaks, done = Peaks(), []
    function = world.function(name)

    def look() -> None:
        while not done:
            peaks.look(function)

    watcher = Background(look)
    try:
        yield peaks
    finally:
        done.append(True)
        watcher.result()
    peaks.look(function)
    assert peaks.samples > 3


def stats(world: World, name: str) -> FunctionStats:
    """Return a function's stats, over a connection that is closed again."""
    client = Connection(world.settings)
    try:
        return world.function(name, client).get_current_stats()
    finally:
        client.close()


def backlog(world: World, name: str) -> int:
    return stats(world, name).backlog


def running(world: World, name: str) -> int:
    return stats(world, name).num_running_inputs


def load(world: World, name: str) -> int:
    found = stats(world, name)
    return found.backlog + found.num_running_inputs


def until_refused(call: Callable[[], Any], most: int = 1000) -> int:
    """Call again and again; return how often it went well before the limit."""
    for done in range(most):
        try:
            call()
        except errors.ResourceExhaustedError:
            return done
    raise AssertionError(f"{most} calls, and no limit")


# Never more


def test_twenty_threads_never_exceed_the_limits_and_all_end_well(world: World) -> None:
    world.set(CLOUDFN_LIMIT_PENDING=12, CLOUDFN_LIMIT_TOTAL=14, CLOUDFN_MAP_WINDOW=8)
    world.deploy(STRUGGLE)

    def calls(number: int) -> list[int]:
        nap = world.function("nap")
        items = list(range(100 * number, 100 * number + 6))
        if number % 2:
            return list(nap.map(items))
        return [patient(nap, item) for item in items]

    with watched(world, "nap") as peaks:
        everybody = [Background(lambda n=number: calls(n)) for number in range(20)]
        for number, each in enumerate(everybody):
            assert each.result() == list(range(100 * number, 100 * number + 6))
    assert 0 < peaks.pending <= 12
    assert peaks.total <= 14
    assert (backlog(world, "nap"), running(world, "nap")) == (0, 0)


def patient(function: Function, item: int) -> int:
    """Call until there is room."""
    for _ in range(100_000):
        try:
            return int(function.remote(item))
        except errors.ResourceExhaustedError:
            continue
    raise AssertionError("there was never any room")


def test_twenty_processes_get_exactly_as_many_spawns_in_as_there_are_places(world: World) -> None:
    world.set(CLOUDFN_LIMIT_SPAWN_PENDING=30)
    world.deploy()
    world.hold()
    world.function("narrow").spawn("first")
    world.await_trace("begin", 1)
    clients = [
        world.start(f"""
            import sys, cloudfn
            narrow = cloudfn.Function.from_name({APP!r}, "narrow")
            calls, refused = [], 0
            for item in range(5):
                try:
                    calls.append(narrow.spawn(item).object_id)
                except cloudfn.exception.ResourceExhaustedError as error:
                    assert "30" in str(error) or "limit" in str(error), error
                    refused += 1
            print("done", *calls)
        """)
        for _ in range(20)
    ]
    accepted = []
    for client in clients:
        output, _ = client.communicate(timeout=40)
        assert client.returncode == 0, output
        accepted += output.split("done", 1)[1].split()
    assert len(accepted) == 30
    assert backlog(world, "narrow") == 30
    world.release()
    assert len([world.call(call).get(timeout=40) for call in accepted]) == 30


def test_a_remote_and_a_spawn_over_the_limit_are_refused_and_a_map_waits(world: World) -> None:
    world.set(CLOUDFN_LIMIT_PENDING=5, CLOUDFN_LIMIT_SPAWN_PENDING=3)
    world.deploy()
    world.hold()
    narrow = world.function("narrow")
    mapped = Background(lambda: list(world.function("narrow").map(range(40))))
    world.await_trace("begin", 1)
    # What began left a place, which the map takes as well.
    wait_for("the map fills its places", lambda: load(world, "narrow") == 6)
    with pytest.raises(errors.ResourceExhaustedError, match="CLOUDFN_LIMIT_PENDING"):
        narrow.remote("more")
    # Spawned inputs have places of their own.
    spawned = []
    assert until_refused(lambda: spawned.append(narrow.spawn("spawned"))) == 3
    many = Background(lambda: list(narrow.spawn_map(range(100, 120)).iter()))
    other = world.function("echo")
    assert other.remote("of another function") == "of another function"
    assert backlog(world, "narrow") == 8
    assert not mapped.done
    world.release()
    assert [item for item, _ in mapped.result()] == list(range(40))
    assert [call.get(timeout=40)[0] for call in spawned] == ["spawned"] * 3
    assert [item for item, _ in many.result()] == list(range(100, 120))
    assert narrow.remote("now")[0] == "now"


def test_the_total_counts_what_runs(world: World) -> None:
    world.set(CLOUDFN_LIMIT_TOTAL=6)
    world.deploy()
    world.hold()
    with watched(world, "work") as peaks:
        mapped = Background(lambda: list(world.function("work").map(range(30))))
        world.await_trace("begin", 2)
        wait_for("six are in", lambda: load(world, "work") == 6)
        with pytest.raises(errors.ResourceExhaustedError):
            world.function("work").remote("more")
        world.release()
        assert [item for item, _ in mapped.result()] == list(range(30))
    assert peaks.total == 6


def test_what_waits_for_its_retry_keeps_its_place(world: World) -> None:
    world.set(CLOUDFN_LIMIT_PENDING=2)
    world.deploy("""
        @app.function(retries=cloudfn.Retries(max_retries=1, initial_delay=60.0))
        def fail(item):
            note("begin", item)
            raise ValueError(item)
    """)
    calls = [Background(lambda item=item: world.function("fail").remote(item)) for item in (1, 2)]
    world.await_trace("begin", 2)
    wait_for("both wait", lambda: backlog(world, "fail") == 2)
    with pytest.raises(errors.ResourceExhaustedError):
        world.function("fail").remote(3)
    world.ask("app_stop", name=APP)
    for call in calls:
        with pytest.raises(errors.RemoteError, match="cancelled"):
            call.result()


# The window of a map


@pytest.mark.parametrize("ordered", [True, False])
def test_an_infinite_generator_is_read_no_further_than_the_window(
    world: World, *, ordered: bool
) -> None:
    world.set(CLOUDFN_MAP_WINDOW=20)
    world.deploy()
    world.hold()
    read = []

    def numbers() -> Iterator[int]:
        for number in itertools.count():
            read.append(number)
            yield number

    results = world.function("work").map(numbers(), order_outputs=ordered)
    first = Background(lambda: next(results))
    wait_for("the window is full", lambda: len(read) == 20)
    world.await_trace("begin", 2)
    assert len(read) == 20
    world.release()
    had = [first.result()[0]]
    while len(had) < 100:
        had.append(next(results)[0])
        # What has not come out here may be on its way: the window is about what is not finished.
        assert len(read) <= len(world.trace("begin")) + 20
    assert sorted(had) == had or not ordered
    assert len(set(had)) == 100
    results.close()
    wait_for("the rest is cancelled", lambda: load(world, "work") == 0)


# Nothing leaks


def test_places_of_a_killed_client_are_free_again(world: World) -> None:
    world.set(CLOUDFN_LIMIT_PENDING=6, CLOUDFN_LIMIT_TOTAL=7, CLOUDFN_CLIENT_GRACE=0.5)
    world.deploy()
    for round_ in range(2):
        world.hold()
        client = world.start(f"""
            import cloudfn
            list(cloudfn.Function.from_name({APP!r}, "narrow").map(range(50)))
        """)
        wait_for("it is full", lambda: backlog(world, "narrow") == 6)
        client.kill()
        wait_for("it is empty", lambda: load(world, "narrow") == 0)
        world.release()
        assert world.function("narrow").remote(round_)[0] == round_
        # All places, no more and no less.
        world.hold()
        mapped = Background(lambda: list(world.function("narrow").map(range(20))))
        wait_for("full again", lambda: load(world, "narrow") == 7)
        with pytest.raises(errors.ResourceExhaustedError):
            world.function("narrow").remote("more")
        world.release()
        assert len(mapped.result()) == 20


def test_places_survive_the_daemon_exactly(world: World) -> None:
    world.set(CLOUDFN_LIMIT_PENDING=6, CLOUDFN_LIMIT_SPAWN_PENDING=9)
    world.deploy()
    world.hold()
    spawned: list[Any] = []
    narrow = world.function("narrow")
    spawned.append(narrow.spawn("runs"))
    world.await_trace("begin", 1)
    assert until_refused(lambda: spawned.append(narrow.spawn("waits"))) == 9
    mapped = Background(lambda: list(world.function("narrow").map(range(30))))
    wait_for("the map is in", lambda: backlog(world, "narrow") == 15)
    for _ in range(3):
        begun = world.trace("begin").total()
        world.kill()
        wait_for("the map is back", lambda: load(world, "narrow") >= 16)
        wait_for("one runs", lambda begun=begun: world.trace("begin").total() > begun)
        assert until_refused(lambda: spawned.append(world.function("narrow").spawn("late"))) <= 1
        # What ran when the daemon died waits again, whether or not there is a place for it.
        assert backlog(world, "narrow") <= 16
    world.release()
    assert [item for item, _ in mapped.result()] == list(range(30))
    assert len([world.call(call.object_id).get(timeout=40) for call in spawned]) == len(spawned)
    wait_for("empty", lambda: load(world, "narrow") == 0)
    world.hold()
    # The container takes some at once by now, and gives back what it does not come to.
    again: list[Any] = []
    assert until_refused(lambda: again.append(narrow.spawn("waits"))) >= 9
    wait_for("one runs, all others wait", lambda: running(world, "narrow") == 1)
    assert backlog(world, "narrow") == len(again) - 1
    world.release()
    assert len([call.get(timeout=40) for call in again]) == len(again)
    wait_for("empty", lambda: load(world, "narrow") == 0)
