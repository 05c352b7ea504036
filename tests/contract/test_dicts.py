"""What every store of dicts promises."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from cloudfn.errors import Error
from cloudfn.providers.aws.dicts import DynamoDicts
from cloudfn.providers.local.dicts import SqliteDicts
from cloudfn.testing import FakeAws
from cloudfn.testing.aws import Knobs
from cloudfn.testing.memory_dicts import MemoryDicts
from cloudfn.wire.messages import BlobRef

TTL = 100.0
D = "di-1"
REQUESTS = count()


@pytest.fixture(params=["sqlite", "memory", "aws"])
def dicts(request, tmp_path):
    if request.param == "aws":
        store = on_aws(FakeAws())
    elif request.param == "memory":
        store = MemoryDicts(TTL)
    else:
        store = SqliteDicts(tmp_path / "d.db", TTL)
    yield store
    store.close()


def on_aws(aws):
    return DynamoDicts(aws.clients(), aws.make_table(), aws.clock, TTL)


def put(dicts, *entries, skip=False, request=None, now=1.0, dict_id=D):
    wanted = request or f"r{next(REQUESTS)}"
    return dicts.put(dict_id, entries, skip_existing=skip, request=wanted, now=now)


def pop(dicts, *keys, request=None, now=1.0):
    return dicts.pop(D, keys, request=request or f"r{next(REQUESTS)}", now=now)


def test_values_are_found_by_key_in_their_dict_alone(dicts):
    assert put(dicts, (b"a", b"1"), (b"b", b"2")) == [True, True]
    put(dicts, (b"a", b"9"), dict_id="di-2")

    assert dicts.get(D, [b"b", b"x", b"a"], 1.0) == [b"2", None, b"1"]
    assert (dicts.count(D, 1.0), dicts.count("di-2", 1.0), dicts.count("di-3", 1.0)) == (2, 1, 0)


def test_a_later_value_wins_unless_existing_ones_are_skipped(dicts):
    put(dicts, (b"a", b"1"))

    assert put(dicts, (b"a", b"2"), (b"b", b"2"), skip=True) == [False, True]
    assert dicts.get(D, [b"a", b"b"], 1.0) == [b"1", b"2"]
    assert put(dicts, (b"a", b"3")) == [True]
    assert dicts.get(D, [b"a"], 1.0) == [b"3"]


def test_a_request_that_is_sent_again_has_the_same_answer_and_no_other_effect(dicts):
    assert put(dicts, (b"a", b"1"), skip=True, request="x") == [True]
    assert put(dicts, (b"a", b"1"), skip=True, request="x") == [True]
    assert pop(dicts, b"a", b"b", request="y") == [b"1", None]
    put(dicts, (b"a", b"2"))

    assert pop(dicts, b"a", b"b", request="y") == [b"1", None]
    assert dicts.get(D, [b"a"], 1.0) == [b"2"]


def test_everything_can_go_at_once(dicts):
    put(dicts, (b"a", b"1"), (b"b", b"2"))
    put(dicts, (b"a", b"1"), dict_id="di-2")

    assert dicts.pop(D, None, request="x", now=1.0) == []
    put(dicts, (b"c", b"3"))
    assert dicts.pop(D, None, request="x", now=1.0) == []

    assert [entry.key for entry in dicts.scan(D, 0, 9, 999, 1.0)] == [b"c"]
    assert dicts.count("di-2", 1.0) == 1


def test_a_scan_goes_on_where_the_last_one_ended_in_the_order_of_first_puts(dicts):
    put(dicts, (b"c", b"1"), (b"a", b"2"), (b"b", b"3"))
    put(dicts, (b"c", b"4"))

    first = dicts.scan(D, 0, 2, 999, 1.0)
    assert [(entry.key, entry.value) for entry in first] == [(b"c", b"4"), (b"a", b"2")]
    rest = dicts.scan(D, first[-1].position, 2, 999, 1.0)
    assert [entry.key for entry in rest] == [b"b"]
    assert [entry.key for entry in dicts.scan(D, 0, 9, 1, 1.0)] == [b"c"], "one at least"


def test_entries_vanish_when_nobody_touched_them_for_their_time(dicts):
    put(dicts, (b"read", b"1"), (b"alone", b"2"), now=0.0)
    dicts.get(D, [b"read"], 60.0)

    assert dicts.get(D, [b"read", b"alone"], 120.0) == [b"1", None]
    assert dicts.count(D, 120.0) == 1
    assert put(dicts, (b"alone", b"3"), skip=True, now=120.0) == [True]
    assert pop(dicts, b"read", now=500.0) == [None]


def test_blobs_can_go_a_while_after_nobody_names_them(dicts):
    blobs = [BlobRef(f"di-1/{n}", 70_000, durable=True).encode() for n in range(4)]
    put(dicts, (b"a", blobs[0]), (b"b", blobs[1]), (b"c", blobs[2]), now=0.0)
    put(dicts, (b"a", blobs[3]), now=10.0)
    assert pop(dicts, b"b", now=20.0) == [blobs[1]]

    assert dicts.expire(25.0, 15.0) == [blobs[0]]
    assert dicts.expire(40.0, 15.0) == [blobs[1]]
    assert dicts.expire(105.0, 15.0) == []
    assert dicts.expire(115.0, 15.0) == []
    assert dicts.expire(130.0, 15.0) == [blobs[2], blobs[3]]
    assert dicts.count(D, 130.0) == 0


def test_what_was_written_is_there_after_a_restart(tmp_path):
    store = SqliteDicts(tmp_path / "d.db", TTL)
    put(store, (b"a", b"1"), request="x")
    store.close()

    again = SqliteDicts(tmp_path / "d.db", TTL)
    assert again.get(D, [b"a"], 1.0) == [b"1"]
    assert put(again, (b"a", b"2"), request="x", skip=True) == [True]
    again.close()


# On AWS


def test_many_entries_and_large_ones_go_in_and_out_in_portions():
    dicts = on_aws(FakeAws())
    entries = [(b"key %d" % n, b"%d" % n * 20_000) for n in range(60)]
    keys = [key for key, _ in entries]

    assert put(dicts, *entries, request="x") == [True] * 60
    assert put(dicts, *entries, request="x", skip=True) == [True] * 60
    assert [entry.key for entry in dicts.scan(D, 0, 99, 9_999_999, 1.0)] == keys
    assert pop(dicts, *keys, request="y") == [value for _, value in entries]
    assert pop(dicts, *keys, request="y") == [value for _, value in entries]
    assert dicts.count(D, 1.0) == 0


def test_of_one_key_named_twice_the_last_value_stays_and_the_first_pop_gets_it(dicts):
    assert put(dicts, (b"a", b"1"), (b"b", b"2"), (b"a", b"3")) == [True] * 3
    assert pop(dicts, b"a", b"b", b"a") == [b"3", b"2", None]


def test_requests_whose_answers_are_lost_have_their_effect_once():
    aws = FakeAws()
    dicts = on_aws(aws)
    aws.faults.lose_answer("dynamodb", "TransactWriteItems")
    assert put(dicts, (b"a", b"1"), skip=True) == [True]
    aws.faults.lose_answer("dynamodb", "TransactWriteItems")
    assert pop(dicts, b"a") == [b"1"]


def test_a_request_that_died_in_the_middle_is_finished_by_the_next_try():
    aws = FakeAws(knobs=Knobs.calm())
    table = aws.make_table()
    dicts = DynamoDicts(aws.clients(attempts=1), table, aws.clock, TTL)
    entries = [(b"%d" % n, b"x") for n in range(30)]
    aws.faults.lose_answer("dynamodb", "TransactWriteItems")
    with pytest.raises(Error):
        put(dicts, *entries, request="x", skip=True)
    assert dicts.count(D, 1.0) == 24
    dicts.pop(D, [b"0"], request="y", now=1.0)

    assert put(dicts, *entries, request="x", skip=True) == [True] * 30
    assert dicts.get(D, [b"0", b"29"], 1.0) == [None, b"x"]


def test_of_many_who_put_a_key_that_must_not_exist_one_does():
    dicts = on_aws(FakeAws())

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda n: put(dicts, (b"a", b"%d" % n), skip=True), range(8)))

    assert done.count([True]) == 1
    assert dicts.get(D, [b"a"], 1.0) == [b"%d" % done.index([True])]


def test_what_many_pop_at_once_goes_to_one_of_them_each():
    dicts = on_aws(FakeAws())
    keys = [b"%d" % n for n in range(8)]
    put(dicts, *((key, key) for key in keys))

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: pop(dicts, *keys), range(4)))

    assert sorted(value for values in found for value in values if value) == keys


def test_dynamodb_forgets_entries_by_itself_but_for_those_with_blobs():
    aws = FakeAws()
    table = aws.make_table()
    dicts = DynamoDicts(aws.clients(), table, aws.clock, TTL)
    blob = BlobRef("di-1/0", 70_000, durable=True).encode()
    put(dicts, (b"small", b"1"), (b"big", blob), now=aws.clock.wall())
    aws.clock.advance(6 * 86_400)

    assert {item.get("key", {}).get("B") for item in aws.dynamodb.truth(table)} == {b"big", None}
    assert dicts.expire(aws.clock.wall(), 0.0) == [blob]
    assert aws.dynamodb.truth(table) == []
