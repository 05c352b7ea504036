"""Dicts and queues when the daemon or a client dies by kill -9 at the wrong moment."""

import os
import signal
from collections import Counter

import pytest

import cloudfn
from cloudfn import errors
from tests.failure.daemon_fixtures import Background, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration


def queue(world: World, name="q") -> cloudfn.Queue:
    return cloudfn.Queue.from_name(name, create_if_missing=True, client=world.connect())


def shared(world: World, name="d") -> cloudfn.Dict:
    return cloudfn.Dict.from_name(name, create_if_missing=True, client=world.connect())


def test_what_was_put_is_there_after_the_death_of_the_daemon(world):
    q, d = queue(world), shared(world)
    big = b"x" * 300_000
    q.put_many([1, big, 3])
    d.update({"small": 1, "big": big})

    world.kill()

    assert [q.get(timeout=20) for _ in range(3)] == [1, big, 3]
    assert (d["small"], d["big"], d.len()) == (1, big, 2)


def test_a_client_that_waits_goes_on_waiting_at_the_next_daemon(world):
    taker = Background(lambda: queue(world).get(timeout=60))
    other = queue(world)
    other.len()
    world.kill()
    other.put("late")

    assert taker.result() == "late"


@pytest.mark.parametrize("kills", [6])
def test_puts_and_gets_through_many_deaths_lose_nothing_and_double_nothing(world, kills):
    total = 300
    taken: list[int] = []
    d = shared(world)

    def put_all():
        q = queue(world)
        for number in range(total):
            q.put(number)

    def take_all():
        q = queue(world)
        while (number := q.get(timeout=60)) is not None:
            taken.append(number)
            d.put(number, "taken", skip_if_exists=True)

    queue(world).len()
    putter, takers = Background(put_all), [Background(take_all) for _ in range(2)]
    for kill in range(1, kills + 1):
        wait_for("progress", lambda kill=kill: len(taken) >= kill * total // (kills + 2))
        world.kill()
    putter.result()
    queue(world).put_many([None, None])
    for taker in takers:
        taker.result()

    assert Counter(taken) == Counter(range(total))
    assert d.len() == total


def test_a_request_that_is_sent_again_after_the_death_has_its_old_answer(world):
    q = queue(world)
    q.put_many([1, 2])
    first, queue_id = world.connect(), q.object_id
    fields = {"queue": queue_id, "partition": None, "limit": 1, "request": "rq-x", "until": None}
    answer = first.request("queue_take", **fields)
    # The client has the answer, and had not said so when the daemon died.
    world.kill()

    assert first.request("queue_take", **fields)["items"] == answer["items"]
    settled = first.request("queue_settle", requests=["rq-x"], keep=True)
    assert settled["settled"] == [True]
    assert q.get(timeout=20) == 2
    assert q.len() == 0


def test_an_element_that_a_dead_client_did_not_get_is_given_to_the_next_one(world):
    q = queue(world)
    q.put_many(["x", "y"])
    client = world.start("""
        import os, cloudfn
        from cloudfn.sdk.client import default_client
        from cloudfn.sdk.twins import run
        q = cloudfn.Queue.from_name("q")
        q.hydrate()
        told = run(default_client().ask("queue_take", queue=q.object_id, partition=None, limit=1,
                                        request="rq-dead", until=None))
        print("took", len(told["items"]), flush=True)
        import time; time.sleep(60)
    """)
    assert client.stdout is not None
    assert client.stdout.readline().strip() == "took 1"
    assert q.len() == 1
    os.kill(client.pid, signal.SIGKILL)

    wait_for("it is back", lambda: q.len() == 2)
    assert q.get_many(2) == ["x", "y"]


def test_an_element_that_a_client_has_is_not_given_again_when_it_dies(world):
    q = queue(world)
    q.put_many(["x", "y"])
    client = world.start("""
        import os, cloudfn
        print(cloudfn.Queue.from_name("q").get(), flush=True)
        os.kill(os.getpid(), 9)
    """)
    assert client.communicate(timeout=40)[0].strip() == "x"
    world.kill()

    assert q.get(timeout=20) == "y"
    assert q.get(block=False) is None


def test_an_ephemeral_object_outlives_the_daemon_while_its_client_lives(world):
    world.set(CLOUDFN_CLIENT_GRACE=2)
    with cloudfn.Dict.ephemeral(client=world.connect()) as d:
        d["k"] = 1
        world.kill()
        assert d["k"] == 1
        other = world.connect()
        assert other.request("dict_count", dict=d.object_id)["count"] == 1


def test_an_ephemeral_object_goes_when_its_client_has_died(world):
    world.set(CLOUDFN_CLIENT_GRACE=1)
    client = world.start("""
        import cloudfn
        with cloudfn.Queue.ephemeral() as q:
            q.put(1)
            print(q.object_id, flush=True)
            q.get(partition="never")
    """)
    assert client.stdout is not None
    mine = cloudfn.Queue.from_id(client.stdout.readline().strip(), client=world.connect())
    assert mine.len() == 1
    os.kill(client.pid, signal.SIGKILL)

    def is_gone():
        try:
            return mine.len() != 1
        except errors.NotFoundError:
            return True

    wait_for("the object's end", is_gone)
