"""Limits hold exactly: under many clients at once, over kills, and nothing of them leaks."""

import itertools
import threading

import pytest

from cloudfn import errors
from cloudfn.sdk.function_call import FunctionCall
from tests.failure.daemon_fixtures import Background, World, check_once, wait_for, world

__all__ = ["world"]
pytestmark = [
    pytest.mark.integration,
    # A map says so when a limit slows it down.
    pytest.mark.filterwarnings("ignore::cloudfn.errors.ServerWarning"),
]

CLIENTS = 20
LIMIT = 50


def occupy(world: World) -> FunctionCall:
    """Have the one container of `narrow` hold an input, so that all others wait."""
    world.hold()
    call = world.function("narrow").spawn("first")
    world.await_trace("begin", 1)
    return call


def backlog(world: World) -> int:
    return world.function("narrow").get_current_stats().backlog


class Watch:
    """Looks at the backlog all the time; remembers the most that it ever was."""

    def __init__(self, world: World) -> None:
        self.most = 0
        self._stop = threading.Event()
        function = world.function("narrow")
        function.hydrate()
        self._loop = Background(lambda: self._look(function))

    def _look(self, function) -> None:
        while not self._stop.wait(0.002):
            self.most = max(self.most, function.get_current_stats().backlog)

    def stop(self) -> int:
        self._stop.set()
        self._loop.result()
        return self.most


def spawn_until_refused(world: World, number: int) -> list[tuple[str, str]]:
    """Spawn until the limit refuses; return (item, call id) of what was taken in."""
    narrow = world.function("narrow")
    taken = []
    for item in itertools.count():
        try:
            taken.append((f"{number}-{item}", narrow.spawn(f"{number}-{item}").object_id))
        except errors.ResourceExhaustedError:
            return taken
    raise AssertionError


def race(world: World, what) -> list:
    """Have twenty clients do the same at once."""
    begin = threading.Barrier(CLIENTS)

    def client(number: int):
        begin.wait(30)
        return what(world, number)

    return [call.result() for call in [
        Background(lambda number=number: client(number)) for number in range(CLIENTS)
    ]]  # fmt: skip


def test_the_limit_of_pending_spawns_is_exact_under_twenty_clients(world: World) -> None:
    world.set(CLOUDFN_LIMIT_SPAWN_PENDING=LIMIT)
    world.deploy()
    occupy(world)
    watch = Watch(world)
    taken = [pair for pairs in race(world, spawn_until_refused) for pair in pairs]
    assert len(taken) == LIMIT
    assert watch.stop() == LIMIT == backlog(world)
    # A kill changes nothing about it: not one more, not one less.
    world.kill()
    wait_for("the one that ran runs again", lambda: backlog(world) == LIMIT)
    assert world.trace("begin")["first"] == 2
    with pytest.raises(errors.ResourceExhaustedError) as caught:
        world.function("narrow").spawn("too many")
    assert "CLOUDFN_LIMIT_PENDING" in str(caught.value)
    world.release()
    client = world.connect()
    results = [world.call(call, client).get(timeout=40) for _, call in taken]
    assert [item for item, _ in results] == [item for item, _ in taken]
    wait_for("nothing waits", lambda: backlog(world) == 0)
    # And all of the room is there again.
    world.hold()
    world.function("narrow").spawn("again")
    world.await_trace("begin", LIMIT + 2)
    assert len(spawn_until_refused(world, 99)) == LIMIT


def test_the_limit_of_pending_remotes_is_exact_under_twenty_clients(world: World) -> None:
    world.set(CLOUDFN_LIMIT_PENDING=LIMIT)
    world.deploy()
    occupy(world)
    watch = Watch(world)

    def three_calls(world: World, number: int) -> list[Background[object]]:
        narrow = world.function("narrow", world.connect())

        def call(item: str) -> object:
            try:
                return narrow.remote(item)
            except errors.ResourceExhaustedError:
                return None

        return [Background(lambda n=n: call(f"{number}-{n}")) for n in range(3)]

    calls = [call for client in race(world, three_calls) for call in client]
    too_many = len(calls) - LIMIT
    wait_for("the others are refused", lambda: sum(call.done for call in calls) >= too_many)
    assert backlog(world) == LIMIT
    world.release()
    results = [call.result() for call in calls]
    assert results.count(None) == too_many
    assert watch.stop() == LIMIT
    wait_for("nothing waits", lambda: backlog(world) == 0)


def test_the_limit_of_all_inputs_counts_those_that_run(world: World) -> None:
    world.set(CLOUDFN_LIMIT_TOTAL=4)
    world.deploy()
    world.hold()
    work = world.function("work")
    running = [Background(lambda n=n: work.remote(n)) for n in range(2)]
    world.await_trace("begin", 2)
    waiting = [Background(lambda n=n: work.remote(n)) for n in (2, 3)]
    wait_for("two wait", lambda: work.get_current_stats().backlog == 2)
    with pytest.raises(errors.ResourceExhaustedError):
        work.remote(4)
    # Spawned inputs have a limit of their own.
    spawned = work.spawn(5)
    world.release()
    assert [call.result()[0] for call in running + waiting] == [0, 1, 2, 3]
    assert spawned.get(timeout=40)[0] == 5


def test_a_map_waits_for_room_and_goes_on(world: World) -> None:
    world.set(CLOUDFN_LIMIT_PENDING=10)
    world.deploy()
    items = list(range(150))
    watch = Watch(world)
    narrow = world.function("narrow")
    calls = [Background(lambda part=part: list(narrow.map(part)))
             for part in (items[:70], items[70:])]  # fmt: skip
    results = [result for call in calls for result in call.result()]
    check_once(world, items, results, deaths=0)
    assert 0 < watch.stop() <= 10


def test_a_map_that_waits_for_room_goes_on_after_a_kill(world: World) -> None:
    world.set(CLOUDFN_LIMIT_PENDING=10)
    world.deploy()
    items = list(range(60))
    narrow = world.function("narrow")
    call = Background(lambda: list(narrow.map(items)))
    for count in (5, 25):
        wait_for("progress", lambda count=count: call.done or len(world.trace("end")) >= count)
        world.kill()
    check_once(world, items, call.result(), deaths=2)


def test_the_window_of_a_map_bounds_what_is_out(world: World) -> None:
    world.set(CLOUDFN_MAP_WINDOW=7)
    world.deploy()
    world.hold()
    read = []

    def items():
        for item in range(40):
            read.append(item)
            yield item

    call = Background(lambda: list(world.function("narrow").map(items())))
    wait_for("the window is full", lambda: backlog(world) + 1 >= 7)
    assert len(read) <= 8
    world.release()
    assert [item for item, _ in call.result()] == list(range(40))


def test_cancelled_inputs_give_their_room_back(world: World) -> None:
    world.set(CLOUDFN_LIMIT_SPAWN_PENDING=LIMIT)
    world.deploy()
    occupy(world)
    narrow = world.function("narrow")
    call = narrow.spawn_map(range(LIMIT))
    with pytest.raises(errors.ResourceExhaustedError):
        narrow.spawn("one more")
    call.cancel()
    assert len(spawn_until_refused(world, 0)) == LIMIT


def test_room_of_clients_that_died_comes_back(world: World) -> None:
    world.set(CLOUDFN_LIMIT_PENDING=10, CLOUDFN_CLIENT_GRACE=0.3)
    world.deploy()
    occupy(world)
    client = world.start("""
        import cloudfn
        list(cloudfn.Function.from_name("victim", "narrow").map(range(100)))
    """)
    wait_for("the limit is reached", lambda: backlog(world) == 10)
    client.kill()
    wait_for("the room is back", lambda: backlog(world) == 0)
    world.kill()
    wait_for("the one that ran runs again", lambda: backlog(world) == 0)
