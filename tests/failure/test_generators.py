"""Generators whose container, daemon or client dies midway: each item arrives, and arrives once."""

import os
import signal
from typing import Any

import pytest

from cloudfn.sdk.streams import RemoteGenerator
from cloudfn.wire.messages import WINDOW_ITEMS
from tests.failure.daemon_fixtures import APP, Background, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

#: notes each item before it is yielded, and waits after the number that the test says
PROGRAM = """
@app.function(max_containers=1, timeout=60)
def numbers(n, pause, size=0):
    note("start", pause)
    try:
        for i in range(n):
            note("item", i)
            yield (i, bytes(size)) if size else i
            while i == pause and os.path.exists(HERE + "/hold"):
                time.sleep(0.002)
    finally:
        note("closed", pause)
"""


def read(items: RemoteGenerator, count: int) -> list[Any]:
    """Return the next items."""
    return [next(items) for _ in range(count)]


def number(item: Any) -> int:
    return int(item[0] if isinstance(item, tuple) else item)


def starts(world: World) -> int:
    return world.trace("start").total()


@pytest.mark.parametrize("size", [0, 100_000], ids=["small", "blobs"])
def test_a_container_is_killed_after_some_items(world: World, size: int) -> None:
    world.deploy(PROGRAM)
    world.hold()
    items = world.function("numbers").remote_gen(40, 20, size)
    before = read(items, 10)
    world.await_trace("item", 21)

    (pid,) = set(world.pids("start"))
    os.kill(pid, signal.SIGKILL)
    world.release()

    after = Background(lambda: list(items)).result()
    assert [number(item) for item in before + after] == list(range(40))
    assert starts(world) == 2
    wait_for("no blobs", lambda: not world.blobs())


@pytest.mark.parametrize("size", [0, 100_000], ids=["small", "blobs"])
def test_the_daemon_is_killed_after_some_items(world: World, size: int) -> None:
    world.deploy(PROGRAM)
    world.hold()
    items = world.function("numbers").remote_gen(40, 20, size)
    before = read(items, 10)
    world.await_trace("item", 21)

    world.kill()
    world.release()

    after = Background(lambda: list(items)).result()
    assert [number(item) for item in before + after] == list(range(40))
    assert starts(world) == 2
    wait_for("no blobs", lambda: not world.blobs())


def test_the_daemon_is_killed_when_the_window_is_full_and_its_end_is_far(world: World) -> None:
    world.deploy(PROGRAM)
    items = world.function("numbers").remote_gen(500, -1)
    before = read(items, 100)
    world.await_trace("item", 100)

    world.kill()

    after = Background(lambda: list(items)).result()
    assert before + after == list(range(500))


def test_the_daemon_is_killed_when_all_is_yielded_and_little_is_read(world: World) -> None:
    world.deploy(PROGRAM)
    items = world.function("numbers").remote_gen(WINDOW_ITEMS - 4, -1)
    before = read(items, 3)
    world.await_trace("closed", 1)

    # The client reads nothing meanwhile: the items die with the daemon, the input must not be over.
    world.kill()

    after = Background(lambda: list(items)).result()
    assert before + after == list(range(WINDOW_ITEMS - 4))


def test_a_daemon_that_leaves_in_order_hands_a_generator_on(world: World) -> None:
    world.deploy(PROGRAM)
    items = world.function("numbers").remote_gen(WINDOW_ITEMS - 4, -1)
    before = read(items, 3)
    world.await_trace("closed", 1)

    world.stop("now")

    after = Background(lambda: list(items)).result()
    assert before + after == list(range(WINDOW_ITEMS - 4))


def test_a_reader_without_a_connection_goes_on_with_the_next_one(world: World) -> None:
    world.deploy(PROGRAM)
    client = world.connect()
    items = world.function("numbers", client).remote_gen(1000, -1)
    before = read(items, 100)

    session = client._session  # the connection breaks, and nobody dies
    assert session is not None
    session.give_up()

    after = Background(lambda: list(items)).result()
    assert before + after == list(range(1000))
    assert starts(world) == 1


@pytest.mark.parametrize("held_back", [True, False])
def test_a_killed_client_ends_its_generator_after_the_grace(world: World, held_back: bool) -> None:
    world.set(CLOUDFN_CLIENT_GRACE=0.5)
    world.deploy(PROGRAM)
    world.hold()
    pause = -1 if held_back else 5
    client = world.start(f"""
        import cloudfn
        import threading
        for item in cloudfn.Function.from_name({APP!r}, "numbers").remote_gen(100_000, {pause}):
            print(item)
            threading.Event().wait()
    """)
    world.await_trace("item", 6 if pause > 0 else WINDOW_ITEMS)
    client.kill()

    world.await_trace("closed", 1)
    wait_for("the call is gone", lambda: not world.ask("call_list")["calls"])
    # Its container takes other work.
    assert list(world.function("numbers").remote_gen(3, -1)) == [0, 1, 2]
    assert starts(world) == 2
    assert len(set(world.pids("start"))) == 1


def test_neither_daemon_nor_client_grows_with_items_that_nobody_reads(world: World) -> None:
    world.deploy(PROGRAM)
    items = world.function("numbers").remote_gen(100_000, -1, 60_000)
    read(items, 200)
    grown = resident(world.pid)
    read(items, 1000)

    # A window is 4 MiB of these; 60 MiB went through.
    assert resident(world.pid) - grown < 24 << 20
    items.close()


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
