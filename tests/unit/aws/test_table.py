"""A table in plain values: what is asked again, what is told."""

import pytest

from cloudfn.errors import ResourceExhaustedError
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.table import Table, check, delete, put, update
from cloudfn.testing import FakeAws
from cloudfn.testing.aws import Knobs
from cloudfn.testing.aws.knobs import DynamoKnobs

RICH = {
    "pk": "a", "sk": "b", "text": "ä", "whole": -7, "part": 1.5, "yes": True, "none": None,
    "bytes": b"\0", "set": frozenset({"x", "y"}), "status": "a reserved word",
}  # fmt: skip


@pytest.fixture
def aws():
    return FakeAws()


@pytest.fixture
def table(aws):
    return Table(aws.clients(), aws.make_table(), aws.clock)


def test_what_was_put_comes_back_as_it_was(table):
    table.write(put(RICH))

    assert table.get("a", "b") == RICH
    assert table.get("a", "c") is None


def test_a_refused_write_says_what_is_there(table):
    table.write(put(RICH))

    with pytest.raises(ConditionFailed) as one:
        table.write(put({"pk": "a", "sk": "b"}, "attribute_not_exists(pk)"))
    with pytest.raises(ConditionFailed) as several:
        table.transact([put({"pk": "c", "sk": "c"}), check("a", "b", "#whole = :n", n=1)])

    assert one.value.items == (RICH,)
    assert (several.value.held, several.value.items) == ((True, False), (None, RICH))
    assert table.get("c", "c") is None


def test_writes_return_what_was_and_what_is(table):
    table.write(put(RICH))

    assert table.write(update("a", "b", "ADD #whole :n", n=2), "ALL_NEW")["whole"] == -5
    assert table.write(delete("a", "b"), "ALL_OLD")["whole"] == -5
    assert table.write(delete("a", "b"), "ALL_OLD") == {}


def test_batches_are_done_to_the_last(table):
    items = [{"pk": "a", "sk": f"{n:04}", "n": n} for n in range(260)]
    table.write_all([put(item) for item in items])

    assert list(table.query("a")) == items
    keys = [("a", f"{n:04}") for n in range(300)]
    assert table.get_all(keys) == {("a", item["sk"]): item for item in items}
    table.write_all([delete("a", item["sk"]) for item in items[1:]])
    assert list(table.query("a")) == items[:1]


def test_queries_go_in_both_directions_from_a_key_on_and_over_pages(table, aws):
    table.write_all([put({"pk": "a", "sk": f"{kind}#{n}"}) for kind in "xy" for n in range(9)])

    def keys(**wanted):
        return [item["sk"] for item in table.query("a", **wanted)]

    assert keys(begins="y#") == [f"y#{n}" for n in range(9)]
    assert keys(after="y#6") == ["y#7", "y#8"]
    assert keys(begins="x#", forward=False, limit=2)[:3] == ["x#8", "x#7", "x#6"]
    assert len(keys(limit=4)) == 18
    aws.faults.calls.clear()
    next(table.query("a", limit=2))
    assert aws.faults.calls["dynamodb", "Query"] == 1


def test_transactions_that_meet_others_or_too_little_room_are_sent_again():
    aws = FakeAws(knobs=Knobs(dynamodb=DynamoKnobs(conflicts=0.2, partition_writes=3.0)), seed=3)
    table = Table(aws.clients(attempts=1), aws.make_table(), aws.clock)

    for n in range(20):
        table.transact([put({"pk": "a", "sk": str(n)}), put({"pk": "b", "sk": str(n)})])

    assert len(list(table.query("a"))) == 20
    assert aws.faults.calls["dynamodb", "TransactWriteItems"] > 20


def test_what_is_throttled_for_too_long_is_an_error(table, aws):
    aws.faults.fail("dynamodb", "*", "ThrottlingException", times=None)

    with pytest.raises(ResourceExhaustedError, match="GetItem of table cloudfn-main"):
        table.get("a", "b")
