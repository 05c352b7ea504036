"""What every store of streams promises: of a machine, of an account at AWS, and for tests."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudfn.errors import DataLossError, Error
from cloudfn.providers.aws.streams import DynamoStreams
from cloudfn.providers.local.streams import LocalStreams
from cloudfn.providers.streams import Appended
from cloudfn.testing import FakeAws
from cloudfn.testing.memory_streams import MemoryStreams
from cloudfn.wire.messages import WINDOW_ITEMS

CALL = "fc-stream"


def payloads(first, end):
    return [b"item %d" % position for position in range(first, end)]


def on_aws():
    aws = FakeAws()
    return DynamoStreams(aws.clients(), aws.make_table(), aws.clock)


@pytest.fixture(params=[LocalStreams, MemoryStreams, on_aws], ids=["local", "memory", "aws"])
def streams(request):
    return request.param()


def test_items_come_back_in_their_order_from_any_position(streams):
    assert streams.append(CALL, 1, 0, payloads(0, 3)).known == 3
    assert streams.append(CALL, 1, 3, payloads(3, 5)).known == 5

    assert streams.read(CALL, 0) == payloads(0, 5)
    assert streams.read(CALL, 4) == payloads(4, 5)
    assert streams.read(CALL, 5) == []


def test_a_stream_that_nobody_appended_to_is_empty(streams):
    assert streams.read(CALL, 0) == []
    assert streams.read(CALL, 7) == []


def test_streams_do_not_see_each_other(streams):
    streams.append("fc-a", 1, 0, [b"a"])
    streams.append("fc-b", 1, 0, [b"b"])
    streams.acknowledge("fc-a", 1)

    assert streams.read("fc-b", 0) == [b"b"]


def test_an_append_that_comes_twice_counts_once(streams):
    streams.append(CALL, 1, 0, payloads(0, 3))

    again = streams.append(CALL, 1, 1, [*payloads(1, 3), b"item 3"])

    assert (again.known, again.dropped) == (4, tuple(payloads(1, 3)))
    assert streams.read(CALL, 0) == payloads(0, 4)


def test_a_gap_keeps_nothing(streams):
    streams.append(CALL, 1, 0, payloads(0, 2))

    answer = streams.append(CALL, 1, 3, payloads(3, 4))

    assert (answer.known, answer.dropped) == (2, tuple(payloads(3, 4)))
    assert streams.read(CALL, 0) == payloads(0, 2)


def test_no_more_than_the_window_is_kept_until_the_reader_takes_some(streams):
    many = payloads(0, WINDOW_ITEMS + 10)

    answer = streams.append(CALL, 1, 0, many)

    assert answer.known == WINDOW_ITEMS
    assert answer.dropped == tuple(many[WINDOW_ITEMS:])
    streams.acknowledge(CALL, 4)
    rest = streams.append(CALL, 1, answer.known, many[answer.known :])
    assert (rest.known, rest.acknowledged) == (WINDOW_ITEMS + 4, 4)
    assert streams.read(CALL, 4) == many[4 : WINDOW_ITEMS + 4]


def test_what_is_acknowledged_is_handed_back_once_and_gone(streams):
    streams.append(CALL, 1, 0, payloads(0, 5))

    assert streams.acknowledge(CALL, 2) == payloads(0, 2)
    assert streams.acknowledge(CALL, 2) == []
    assert streams.acknowledge(CALL, 1) == []

    assert streams.read(CALL, 2) == payloads(2, 5)
    with pytest.raises(DataLossError):
        streams.read(CALL, 1)


def test_a_reader_may_acknowledge_what_a_dead_store_had(streams):
    assert streams.acknowledge(CALL, 3) == []

    answer = streams.append(CALL, 2, 0, payloads(0, 5))

    assert (answer.known, answer.acknowledged) == (5, 3)
    assert answer.dropped == tuple(payloads(0, 3))
    assert streams.read(CALL, 3) == payloads(3, 5)


def test_the_first_item_at_a_position_wins_whichever_attempt_yielded_it(streams):
    streams.append(CALL, 1, 0, [b"old 0", b"old 1"])
    streams.acknowledge(CALL, 1)

    answer = streams.append(CALL, 2, 0, [b"new 0", b"new 1", b"new 2"])

    assert answer.dropped == (b"new 0", b"new 1")
    assert streams.read(CALL, 1) == [b"old 1", b"new 2"]


def test_the_items_of_a_superseded_attempt_are_refused(streams):
    streams.append(CALL, 1, 0, payloads(0, 1))
    streams.append(CALL, 2, 0, payloads(0, 1))

    answer = streams.append(CALL, 1, 1, [b"too late"])

    assert (answer.known, answer.dropped) == (1, (b"too late",))
    assert streams.read(CALL, 0) == payloads(0, 1)


def test_a_forgotten_stream_begins_anew(streams):
    streams.append(CALL, 5, 0, payloads(0, 3))
    streams.acknowledge(CALL, 2)

    streams.forget([CALL, "fc-unknown"])

    assert streams.read(CALL, 0) == []
    assert streams.append(CALL, 1, 0, payloads(0, 2)).known == 2
    assert streams.read(CALL, 0) == payloads(0, 2)


# On AWS


def test_a_window_of_large_items_is_appended_in_portions():
    streams = on_aws()
    large = [bytes([n]) * 60_000 for n in range(WINDOW_ITEMS + 1)]

    answer = streams.append(CALL, 1, 0, large)

    assert (answer.known, answer.dropped) == (WINDOW_ITEMS, (large[-1],))
    assert streams.read(CALL, 0) == large[:-1]
    assert streams.acknowledge(CALL, WINDOW_ITEMS) == large[:-1]


def test_appends_whose_answers_are_lost_count_once():
    aws = FakeAws()
    streams = DynamoStreams(aws.clients(), aws.make_table(), aws.clock)
    aws.faults.lose_answer("dynamodb", "TransactWriteItems")

    assert streams.append(CALL, 1, 0, payloads(0, 3)) == Appended(3, 0)
    aws.faults.lose_answer("dynamodb", "UpdateItem")
    aws.faults.lose_answer("dynamodb", "BatchWriteItem")
    assert streams.acknowledge(CALL, 2) == payloads(0, 2)
    assert streams.read(CALL, 2) == payloads(2, 3)


def test_who_acknowledges_anew_finishes_what_died_in_the_middle():
    aws = FakeAws()
    table = aws.make_table()
    streams = DynamoStreams(aws.clients(attempts=1), table, aws.clock)
    streams.append(CALL, 1, 0, payloads(0, 3))
    aws.faults.fail("dynamodb", "UpdateItem", "InternalServerError")
    with pytest.raises(Error):
        streams.acknowledge(CALL, 1)

    assert streams.acknowledge(CALL, 2) == payloads(1, 2)
    assert streams.read(CALL, 2) == payloads(2, 3)
    streams.forget([CALL])
    assert aws.dynamodb.truth(table) == []


def test_two_attempts_that_append_at_once_leave_one_story():
    aws = FakeAws()
    streams = DynamoStreams(aws.clients(), aws.make_table(), aws.clock)

    def attempt(fence):
        position = 0
        while position < 20:
            item = b"%d of %d" % (position, fence)
            position = streams.append(CALL, fence, position, [item]).known
        return position

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(attempt, [1, 1, 1])) == [20, 20, 20]
    found = streams.read(CALL, 0)
    assert [item.split()[0] for item in found] == [b"%d" % n for n in range(20)]
