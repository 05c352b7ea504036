"""Who gets what, and when, at a queue: no clock, no loop, no sockets."""

import pytest

from cloudfn.control.stores.broker import Broker
from cloudfn.testing.memory_queues import MemoryQueues
from cloudfn.wire.texts import from_texts

KEY = "qu-1", ""
GRACE = 60.0


class Desk:
    """A broker, and what was answered, by request."""

    def __init__(self, queues):
        self.broker = Broker(queues, GRACE)
        self.told = {}

    def put(self, request, *items, owner="a", until=None, now=0.0):
        later = self.broker.put(
            owner, KEY, list(items), request=request, ttl=1000.0, until=until, now=now
        )
        later.then(lambda fields: self.told.setdefault(request, fields["put"]))

    def take(self, request, limit=1, owner="a", until=None, now=0.0):
        later = self.broker.take(owner, KEY, limit, request=request, until=until, now=now)
        later.then(lambda fields: self.told.setdefault(request, from_texts(fields["items"])))

    def peek(self, request, after=0, until=None, now=0.0):
        later = self.broker.peek("a", KEY, after, 9, request=request, until=until, now=now)
        later.then(lambda fields: self.told.setdefault(request, len(fields["items"])))

    def keep(self, *requests, now=0.0):
        return self.broker.settle(list(requests), keep=True, now=now)


@pytest.fixture
def queues():
    return MemoryQueues(3, 10)


@pytest.fixture
def desk(queues):
    return Desk(queues)


def test_takers_are_served_in_the_order_in_which_they_came(desk):
    desk.take("t1")
    desk.take("t2", limit=5)
    assert desk.told == {}

    desk.put("p1", b"1", b"2", b"3")

    assert desk.told == {"t1": [b"1"], "t2": [b"2", b"3"], "p1": True}


def test_who_waits_in_vain_is_told_so_when_its_time_is_over(desk):
    desk.take("t1", until=10.0)
    desk.take("t2", until=5.0)
    assert desk.broker.next_moment() == 5.0

    desk.broker.pass_time(5.0)
    assert desk.told == {"t2": []}
    desk.put("p1", b"1", now=6.0)
    assert desk.told == {"t2": [], "t1": [b"1"], "p1": True}
    assert desk.broker.next_moment() is None


def test_who_does_not_want_to_wait_is_answered_at_once(desk):
    desk.take("t1", until=0.0)
    desk.put("p1", b"1", b"2", b"3")
    desk.put("p2", b"4", until=0.0)

    assert desk.told == {"t1": [], "p1": True, "p2": False}


def test_putters_wait_for_room_in_their_order(desk):
    desk.put("p1", b"1", b"2", b"3")
    desk.put("p2", b"4", b"5")
    desk.put("p3", b"6")
    assert desk.told == {"p1": True}

    desk.take("t1")
    assert desk.told == {"p1": True, "t1": [b"1"]}, "one place is not enough for two"
    desk.take("t2")
    assert desk.told["p2"]
    assert "p3" not in desk.told
    desk.take("t3", limit=3)
    assert desk.told["t3"] == [b"3", b"4", b"5"]
    assert desk.told["p3"]


def test_peekers_see_what_is_put_and_leave_it(desk):
    desk.peek("k1")
    desk.put("p1", b"1")
    desk.take("t1")

    assert desk.told == {"k1": 1, "p1": True, "t1": [b"1"]}


def test_what_a_client_took_goes_back_when_it_dies_before_it_said_that_it_has_it(desk):
    desk.put("p1", b"1", b"2")
    desk.take("t1", owner="dying")
    desk.take("t2", owner="other", limit=2)
    assert desk.keep("t2") == [True]
    desk.take("t3", owner="waiting")

    desk.broker.closed("dying", 1.0)

    assert desk.told["t3"] == [b"1"]
    assert desk.keep("t1") == [False]


def test_what_a_client_has_stays_gone_when_it_dies(desk):
    desk.put("p1", b"1")
    desk.take("t1", owner="dying")
    desk.keep("t1")
    desk.broker.closed("dying", 1.0)

    desk.take("t2", until=0.0)
    assert desk.told["t2"] == []


def test_a_dead_client_does_not_wait_any_more(desk):
    desk.take("t1", owner="dying")
    desk.broker.closed("dying", 1.0)
    desk.put("p1", b"1")
    desk.take("t2")

    assert desk.told == {"t1": [], "p1": True, "t2": [b"1"]}


def test_who_was_interrupted_gets_nothing(desk):
    desk.take("t1")
    desk.broker.settle(["t1"], keep=False, now=0.0)
    desk.put("p1", b"1")
    desk.take("t2")
    desk.broker.settle(["t2"], keep=False, now=0.0)
    desk.take("t3")

    assert desk.told == {"p1": True, "t2": [b"1"], "t3": [b"1"]}


def test_after_a_restart_a_client_that_comes_back_gets_what_it_took(desk, queues):
    desk.put("p1", b"1", b"2")
    desk.take("t1")

    later = Desk(queues)
    later.broker.recover(100.0)
    later.take("t2", now=100.0)
    later.take("t1", now=101.0)
    later.broker.pass_time(100.0 + GRACE)

    assert later.told == {"t1": [b"1"], "t2": [b"2"]}
    assert later.keep("t1") == [True]


def test_after_a_restart_what_nobody_claims_goes_back_after_a_while(desk, queues):
    desk.put("p1", b"1")
    desk.take("t1")

    later = Desk(queues)
    later.broker.recover(100.0)
    later.take("t2", now=100.0)
    assert later.broker.next_moment() == 100.0 + GRACE
    later.broker.pass_time(100.0 + GRACE)

    assert later.told == {"t2": [b"1"]}
    assert later.keep("t1") == [False]


def test_a_put_that_is_sent_again_into_a_full_queue_was_done_already(desk, queues):
    desk.put("p1", b"1", b"2", b"3")
    later = Desk(queues)
    later.put("p2", b"4", now=1.0)
    later.put("p1", b"1", b"2", b"3", until=5.0, now=1.0)
    later.broker.pass_time(5.0)

    assert later.told == {"p1": True}
    assert queues.counts("qu-1", 1.0) == {"": 3}


def test_clearing_makes_room_for_those_who_wait(desk, queues):
    desk.put("p1", b"1", b"2", b"3")
    desk.put("p2", b"4")
    desk.broker.clear("qu-1", None, request="c", now=1.0)

    assert desk.told["p2"]
    assert queues.counts("qu-1", 1.0) == {"": 1}
