"""What every store of queues promises."""

from itertools import count

import pytest

from cloudfn.errors import ResourceExhaustedError
from cloudfn.providers.local.queues import SqliteQueues
from cloudfn.testing.memory_queues import MemoryQueues
from cloudfn.wire.messages import BlobRef

Q = "qu-1"
REQUESTS = count()


@pytest.fixture(params=["sqlite", "memory"])
def queues(request, tmp_path):
    store = MemoryQueues(5, 3) if request.param == "memory" else SqliteQueues(tmp_path / "q", 5, 3)
    yield store
    store.close()


def put(queues, *items, part="", request=None, ttl=100.0, now=1.0, queue=Q):
    wanted = request or f"r{next(REQUESTS)}"
    return queues.put(queue, part, items, request=wanted, ttl=ttl, now=now)


def take(queues, limit=1, part="", request=None, now=1.0, size=999):
    wanted = request or f"r{next(REQUESTS)}"
    return queues.take(Q, part, limit, size, request=wanted, now=now)


def settle(queues, *requests, keep, now=1.0):
    return queues.settle(requests, keep=keep, now=now)


def test_elements_come_out_in_the_order_in_which_they_went_in(queues):
    assert put(queues, b"1", b"2")
    assert put(queues, b"3")

    assert take(queues, 2) == [b"1", b"2"]
    assert take(queues, 9) == [b"3"]
    assert take(queues, 9) == []


def test_partitions_and_queues_are_apart(queues):
    put(queues, b"1")
    put(queues, b"2", part="a")
    put(queues, b"3", part="a", queue="qu-2")

    assert queues.counts(Q, 1.0) == {"": 1, "a": 1}
    assert take(queues, 9, part="a") == [b"2"]
    assert queues.counts(Q, 1.0) == {"": 1}


def test_a_batch_goes_in_whole_or_not_at_all(queues):
    assert put(queues, b"1", b"2", b"3")
    assert not put(queues, b"4", b"5", b"6")
    assert queues.counts(Q, 1.0) == {"": 3}
    assert put(queues, b"4", b"5")
    assert not put(queues, b"6")


def test_a_put_that_is_sent_again_adds_nothing(queues):
    assert put(queues, b"1", request="x")
    assert put(queues, b"1", request="x")

    assert queues.counts(Q, 1.0) == {"": 1}


def test_a_take_that_is_sent_again_gets_the_same_elements(queues):
    put(queues, b"1", b"2", b"3")

    assert take(queues, 2, request="x") == [b"1", b"2"]
    assert take(queues, 2, request="x") == [b"1", b"2"]
    assert take(queues, 2, request="y") == [b"3"]


def test_what_is_given_back_is_in_front_again_and_cannot_be_kept(queues):
    put(queues, b"1", b"2", b"3")
    take(queues, 2, request="x")
    take(queues, 1, request="y")

    assert settle(queues, "x", keep=False) == [True]
    assert settle(queues, "x", keep=True) == [False], "its client must ask for others"
    assert settle(queues, "x", keep=False) == [True]
    assert take(queues, 9, request="z") == [b"1", b"2"]
    assert take(queues, 9, request="x") == [], "the request starts anew"


def test_what_is_kept_is_gone_for_good(queues):
    put(queues, b"1", b"2")
    take(queues, request="x")

    assert settle(queues, "x", keep=True) == [True]
    assert settle(queues, "x", keep=True) == [True]
    assert settle(queues, "x", keep=False) == [False]
    assert take(queues, 9) == [b"2"]


def test_requests_that_are_not_settled_are_known_whatever_their_age(queues):
    put(queues, b"1", b"2", b"3", ttl=9e9)
    take(queues, request="x")
    take(queues, request="y")
    settle(queues, "y", keep=True)

    assert queues.expire(1e6, 10.0).unsettled == ("x",)
    assert settle(queues, "x", keep=False, now=1e6) == [True]
    assert queues.expire(1e6, 10.0).unsettled == ()
    assert take(queues, 9, now=1e6) == [b"1", b"3"]


def test_peeking_takes_nothing_and_goes_on_from_a_position(queues):
    put(queues, b"1", b"2", b"3")

    first = queues.peek(Q, "", 0, 2, 999, 1.0)
    assert [item for _, item in first] == [b"1", b"2"]
    assert [item for _, item in queues.peek(Q, "", first[-1][0], 9, 999, 1.0)] == [b"3"]
    assert queues.counts(Q, 1.0) == {"": 3}


def test_one_answer_holds_some_bytes_and_one_element_at_least(queues):
    put(queues, b"123", b"456", b"789")

    assert take(queues, 9, size=1) == [b"123"]
    assert take(queues, 9, size=6) == [b"456", b"789"]


def test_a_partition_vanishes_a_while_after_the_last_put(queues):
    put(queues, b"1", ttl=10.0, now=0.0)
    put(queues, b"2", ttl=10.0, now=8.0)
    put(queues, b"3", part="a", ttl=100.0, now=0.0)

    assert queues.counts(Q, 17.0) == {"": 2, "a": 1}
    assert queues.counts(Q, 18.0) == {"a": 1}
    assert take(queues, 9, now=18.0) == []
    put(queues, b"4", now=20.0)
    assert take(queues, 9, now=20.0) == [b"4"]


def test_partitions_are_limited_and_make_room_when_they_vanish(queues):
    for part in "abc":
        put(queues, b"1", part=part, ttl=10.0)
    with pytest.raises(ResourceExhaustedError, match="3 partitions"):
        put(queues, b"1", part="d")
    put(queues, b"2", part="c", ttl=50.0)

    queues.expire(12.0, 1.0)
    assert put(queues, b"1", part="d", now=12.0)
    assert queues.counts(Q, 12.0) == {"c": 2, "d": 1}


def test_blobs_can_go_a_while_after_their_elements_are_gone(queues):
    kept, expired = (BlobRef(f"qu-1/{n}", 70_000, durable=True).encode() for n in range(2))
    put(queues, kept, ttl=50.0, now=0.0)
    put(queues, expired, part="a", ttl=50.0, now=0.0)
    take(queues, request="x", now=5.0)
    settle(queues, "x", keep=True, now=10.0)

    assert queues.expire(15.0, 10.0).gone == ()
    assert queues.expire(20.0, 10.0).gone == (kept,)
    assert queues.expire(60.0, 10.0).gone == ()
    assert queues.expire(70.0, 10.0).gone == (expired,)


def test_what_was_put_and_what_was_taken_is_known_after_a_restart(tmp_path):
    store = SqliteQueues(tmp_path / "q", 5, 3)
    put(store, b"1", b"2", b"3")
    take(store, request="x")
    store.close()

    again = SqliteQueues(tmp_path / "q", 5, 3)
    assert take(again, 9, request="x") == [b"1"]
    assert take(again, 9) == [b"2", b"3"]
    again.close()
