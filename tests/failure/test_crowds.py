"""Many at once: fifty processes, and one small call beside a long queue."""

import threading
from collections.abc import Iterator

import pytest

from tests.failure.daemon_fixtures import APP, Background, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

NAP = """
@app.function(max_containers=1, scaledown_window=2)
def nap(item):
    time.sleep(0.004)
    return item
"""


def test_fifty_processes_at_once_each_get_their_results(world: World) -> None:
    world.deploy()
    clients = [
        world.start(f"""
            import cloudfn
            echo = cloudfn.Function.from_name({APP!r}, "echo")
            items = list(range({number} * 100, {number} * 100 + 20))
            assert list(echo.map(items)) == items
            assert echo.remote({number}) == {number}
            assert echo.spawn(b"x" * 100_000).get(timeout=60) == b"x" * 100_000
            print("good")
        """)
        for number in range(50)
    ]
    for client in clients:
        output, _ = client.communicate(timeout=60)
        assert output == "good\n"
    wait_for(
        "only the spawned calls are left",
        lambda: {call["kind"] for call in world.ask("call_list")["calls"]} == {"spawn"},
    )


def test_a_remote_gets_through_beside_thousands_of_spawned_inputs(world: World) -> None:
    world.deploy(NAP)
    nap = world.function("nap")
    queue = nap.spawn_map(range(5000))
    wait_for("it works on them", lambda: 0 < nap.get_current_stats().backlog < 5000)
    for number in range(5):
        assert world.function("nap").remote(f"small {number}") == f"small {number}"
    assert list(world.function("nap").map(range(20))) == list(range(20))
    # No clock: the queue is as good as untouched when all that is done.
    assert nap.get_current_stats().backlog > 3500
    queue.cancel()
    wait_for("the queue is gone", lambda: nap.get_current_stats().backlog == 0)


def test_a_spawn_gets_through_beside_a_map_that_never_ends(world: World) -> None:
    world.set(CLOUDFN_MAP_WINDOW=200)
    world.deploy(NAP)
    nap = world.function("nap")
    stop = threading.Event()

    def endless() -> Iterator[int]:
        number = 0
        while not stop.is_set():
            yield number
            number += 1

    def read() -> int:
        return sum(1 for _ in world.function("nap").map(endless()))

    reader = Background(read)
    wait_for("the window is full", lambda: nap.get_current_stats().backlog > 100)
    calls = [nap.spawn(f"small {number}") for number in range(5)]
    found = [call.get(timeout=40) for call in calls]
    assert found == [f"small {number}" for number in range(5)]
    assert not reader.done
    stop.set()
    assert reader.result() > 0
