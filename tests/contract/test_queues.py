"""What every store of queues promises."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from cloudfn.errors import Error, ResourceExhaustedError
from cloudfn.providers.aws.queues import DynamoQueues
from cloudfn.providers.local.queues import SqliteQueues
from cloudfn.testing import FakeAws
from cloudfn.testing.aws import Knobs
from cloudfn.testing.memory_queues import MemoryQueues
from cloudfn.wire.messages import BlobRef

Q = "qu-1"
REQUESTS = count()


@pytest.fixture(params=["sqlite", "memory", "aws"])
def queues(request, tmp_path):
    if request.param == "aws":
        store = on_aws(FakeAws())
    elif request.param == "memory":
        store = MemoryQueues(5, 3)
    else:
        store = SqliteQueues(tmp_path / "q", 5, 3)
    yield store
    store.close()


def on_aws(aws, capacity=5):
    return DynamoQueues(aws.clients(), aws.make_table(), aws.clock, capacity, 3)


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


# On AWS


def test_many_elements_and_large_ones_go_in_and_out_in_portions():
    queues = on_aws(FakeAws(), capacity=500)
    items = [b"%03d" % n * (1 if n % 3 else 10_000) for n in range(200)]

    assert put(queues, *items, request="x")
    assert put(queues, *items, request="x")
    assert queues.counts(Q, 1.0) == {"": 200}
    assert take(queues, 999, request="y", size=99_999_999) == items
    assert take(queues, 999, request="y", size=99_999_999) == items
    assert settle(queues, "y", keep=False) == [True]
    assert take(queues, 999, request="z", size=99_999_999) == items
    assert settle(queues, "z", keep=True) == [True]
    assert queues.counts(Q, 1.0) == {}


def test_what_is_not_settled_for_a_while_goes_back_to_the_front_and_cannot_be_kept():
    queues = on_aws(FakeAws())
    put(queues, b"1", b"2", b"3", ttl=900.0)
    assert take(queues, 2, request="x", now=1.0) == [b"1", b"2"]

    assert take(queues, 9, request="y", now=60.0) == [b"3"]
    put(queues, b"4", ttl=900.0, now=61.0)
    assert take(queues, 3, request="z", now=61.0) == [b"1", b"2", b"4"]
    assert settle(queues, "x", keep=True, now=61.0) == [False]
    assert settle(queues, "z", keep=True, now=61.0) == [True]
    assert take(queues, 9, now=121.0) == [b"3"]


def test_a_look_at_a_queue_without_free_elements_is_one_request():
    aws = FakeAws(knobs=Knobs.calm())
    queues = on_aws(aws)
    put(queues, b"1")
    take(queues, now=2.0)
    aws.faults.calls.clear()

    assert take(queues, now=3.0) == []
    assert dict(aws.faults.calls) == {("dynamodb", "BatchGetItem"): 1}


def test_requests_whose_answers_are_lost_have_their_effect_once():
    aws = FakeAws()
    queues = on_aws(aws)
    aws.faults.lose_answer("dynamodb", "TransactWriteItems")
    assert put(queues, b"1", b"2")
    aws.faults.lose_answer("dynamodb", "TransactWriteItems")
    assert take(queues, request="x") == [b"1"]
    aws.faults.lose_answer("dynamodb", "TransactWriteItems")
    assert settle(queues, "x", keep=False) == [True]
    take(queues, request="x")
    aws.faults.lose_answer("dynamodb", "PutItem")
    assert settle(queues, "x", keep=True) == [True]

    assert queues.counts(Q, 1.0) == {"": 1}


@pytest.mark.parametrize("lost", range(1, 4))
def test_a_put_that_died_in_the_middle_is_finished_by_the_next_try(lost):
    aws = FakeAws(knobs=Knobs.calm())
    queues = DynamoQueues(aws.clients(attempts=1), aws.make_table(), aws.clock, 500, 3)
    items = [b"%d" % n for n in range(250)]
    aws.faults.delay("dynamodb", "TransactWriteItems", 0.0, times=lost - 1)
    aws.faults.lose_answer("dynamodb", "TransactWriteItems")
    with pytest.raises(Error):
        put(queues, *items, request="x")
    early = take(queues, 10, request="y")

    assert put(queues, *items, request="x")

    assert [*early, *take(queues, 999, size=9_999)] == items


@pytest.mark.parametrize("operation", ["PutItem", "BatchWriteItem"])
def test_what_was_kept_comes_to_nobody_else_wherever_its_taker_died(operation):
    aws = FakeAws(knobs=Knobs.calm())
    table = aws.make_table()
    queues = DynamoQueues(aws.clients(attempts=1), table, aws.clock, 500, 3)
    put(queues, b"1", b"2" * 5_000, b"3", ttl=900.0)
    take(queues, 2, request="x", size=9_999)
    if operation == "PutItem":
        aws.faults.lose_answer("dynamodb", operation)
    else:
        aws.faults.fail("dynamodb", operation, "InternalServerError")
    with pytest.raises(Error):
        settle(queues, "x", keep=True)

    assert settle(queues, "x", keep=True, now=2.0) == [True]
    assert take(queues, 9, request="y", now=100.0) == [b"3"]
    assert settle(queues, "y", keep=True) == [True]
    left = {item["sk"]["S"][0] for item in aws.dynamodb.truth(table)}
    assert left == {"H", "R", "P", "q"}, "no element"


def test_many_takers_and_putters_share_a_partition_without_loss_or_double():
    queues = on_aws(FakeAws(), capacity=500)

    def work(n):
        assert put(queues, b"%d" % n, b"%d" % (n + 100))
        found = take(queues, 2, request=f"taker {n}")
        assert settle(queues, f"taker {n}", keep=n % 2 == 0) == [True] or not found
        return found if n % 2 == 0 else []

    with ThreadPoolExecutor(4) as threads:
        kept = [item for found in threads.map(work, range(12)) for item in found]

    rest = take(queues, 99)
    wanted = sorted(b"%d" % n for n in [*range(12), *range(100, 112)])
    assert sorted([*kept, *rest]) == wanted
    assert queues.counts(Q, 1.0) == {}


def test_elements_of_a_partition_that_had_its_time_leave_nothing_behind():
    aws = FakeAws()
    table = aws.make_table()
    queues = DynamoQueues(aws.clients(), table, aws.clock, 5, 3)
    put(queues, b"1", b"2" * 5_000, ttl=10.0, now=0.0)
    take(queues, request="x", now=9.0)

    put(queues, b"3", ttl=10.0, now=20.0)
    assert settle(queues, "x", keep=False, now=21.0) == [True]
    assert take(queues, 9, now=21.0) == [b"3"]
    values = [item for item in aws.dynamodb.truth(table) if item["sk"]["S"][0] in "IV"]
    assert len(values) == 1
