"""What a shared ledger promises to several holders: one suite for DynamoDB and for memory."""

from __future__ import annotations

import pytest

from cloudfn.model.call import LOSS_CAP, Counters, Status
from cloudfn.providers.ledger import Entry, PoolCounts
from cloudfn.providers.shared_ledger import Held
from cloudfn.testing.memory_shared_ledger import MemorySharedLedger, Records
from tests.contract.dynamo_ledgers import NOW, account, open_ledger
from tests.contract.ledger_worlds import POOL, SPEC, finish, names, submit


@pytest.fixture(params=["dynamodb", "memory"])
def opened(request):
    """Return what opens one ledger as several processes."""
    if request.param == "dynamodb":
        aws = account()
        return lambda holder: open_ledger(aws, holder)
    records = Records.make()
    return lambda holder: MemorySharedLedger(records, holder)


@pytest.fixture
def client(opened):
    return opened("cl-1")


@pytest.fixture
def one(opened):
    return opened("ma-1")


@pytest.fixture
def two(opened):
    return opened("ma-2")


def alive(*holders):
    return lambda holder: holder in holders


def entries(claims, status=Status.RETURNED, payload=b"result"):
    return [Entry(c.seq, c.fence, status, payload) for c in claims]


def claim(ledger, limit=100, now=NOW):
    return ledger.claim(POOL, limit, now)


class TestSeveralHolders:
    def test_share_a_page_and_never_an_input(self, client, one, two):
        submit(client, number=90)
        (ring,) = client.rings()
        one.hear(ring)
        two.hear(ring)
        claims = {1: [], 2: []}
        for _ in range(10):
            claims[1] += claim(one, 5)
            claims[2] += claim(two, 4)

        indices = [c.index for side in claims.values() for c in side]
        assert sorted(indices) == list(range(90))
        assert all(claims.values())

    def test_finish_inputs_of_one_page_without_meeting(self, client, one, two):
        submit(client, number=20, sealed=True)
        first, second = claim(one, 10), claim(two, 10)
        for a, b in zip(first, second, strict=True):
            assert one.record(entries([a], payload=b"one")) == [True]
            assert two.record(entries([b], payload=b"two")) == [True]

        found = client.outcomes(SPEC.call_id)
        assert [o.payload for o in found] == [b"one"] * 10 + [b"two"] * 10
        assert client.pools() == []

    def test_see_what_the_others_gave_back(self, client, one, two):
        submit(client, number=3)
        held = claim(one)
        assert claim(two) == []
        one.give_back([(held[1].seq, held[1].fence)])
        for each in one.rings():
            two.hear(each)

        (again,) = claim(two)
        assert (again.index, again.payload) == (1, b"fc-map[1]")
        assert again.fence > held[1].fence

    def test_are_told_by_name(self, client, one, two):
        submit(client, number=2)
        (a,) = claim(one, 1)
        (b,) = claim(two, 1)

        assert client.held(SPEC.call_id) == [
            Held(a.seq, a.fence, SPEC.call_id, 0, "ma-1"),
            Held(b.seq, b.fence, SPEC.call_id, 1, "ma-2"),
        ]
        assert client.held("fc-nobody") == []

    def test_a_superseded_holder_is_refused_in_everything(self, client, one, two):
        submit(client, number=3)
        old = claim(one)
        client.repair(alive("ma-2"), NOW)
        new = claim(two)
        assert all(b.fence > a.fence for a, b in zip(old, new, strict=True))

        assert one.record(entries(old[:1])) == [False]
        assert one.give_back([(old[1].seq, old[1].fence)]) == [False]
        assert not one.retry(old[2].seq, old[2].fence, Counters(failures=9), 0.0)
        assert client.counts(POOL) == PoolCounts(0, 0, 3)
        finish(two, new)

    def test_the_counters_of_a_call_that_moved_on_are_kept(self, client, one, two):
        submit(client, number=1)
        (held,) = claim(one)
        one.retry(held.seq, held.fence, Counters(failures=2), 0.0)
        (again,) = claim(two)
        client.repair(alive(), NOW)

        (third,) = claim(one)
        assert third.counters == Counters(failures=2, losses=1)
        assert third.fence > again.fence


class TestTheJanitor:
    def test_a_machine_that_comes_back_returns_what_it_held_before(self, opened, client, one, two):
        submit(client, number=3)
        old, others = claim(one, 1), claim(two, 1)

        again = opened("ma-1")
        assert again.repair(lambda holder: holder != "ma-1", NOW).returned == 1

        assert names(claim(again)) == ["map0", "map2"]
        assert one.record(entries(old)) == [False]
        finish(two, others)

    def test_returns_what_dead_machines_held_and_rings(self, client, one, two):
        submit(client, number=4)
        claim(one, 2)
        claim(two, 2)

        repairs = client.repair(alive("ma-2"), NOW)

        assert (repairs.returned, repairs.given_up) == (2, 0)
        (ring,) = repairs.rings
        two.hear(ring)
        assert names(claim(two)) == ["map0", "map1"]
        assert client.repair(alive("ma-2"), NOW).returned == 0

    def test_gives_up_what_was_lost_too_often(self, client, one):
        submit(client, sealed=True)
        for number in range(1, LOSS_CAP + 1):
            assert len(claim(one)) == 1
            repairs = client.repair(alive(), NOW)
            for ring in repairs.rings:
                one.hear(ring)
            assert repairs[:2] == ((1, 0) if number < LOSS_CAP else (0, 1))

        (outcome,) = client.outcomes(SPEC.call_id)
        assert outcome.status == Status.LOST
        assert b"lost 10 times" in outcome.payload
        assert client.pools() == []

    def test_leaves_to_the_living_what_they_hold(self, client, one):
        submit(client, number=2)
        held = claim(one)

        assert client.repair(alive("ma-1"), NOW + 1_000)[:2] == (0, 0)
        finish(one, held)
