"""What a ledger promises to several processes at once: rings, races, fences, lost answers."""

from __future__ import annotations

import pytest

from cloudfn.errors import DataLossError, Error, ResourceExhaustedError
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.model.terms import Terms
from cloudfn.providers.aws.ledger import pages
from cloudfn.providers.ledger import Admission, Entry, PoolCounts
from cloudfn.settings import Limits
from cloudfn.testing.aws import Knobs
from tests.contract.dynamo_ledgers import NOW, TABLE, Source, account, open_ledger
from tests.contract.ledger_worlds import POOL, SPEC, finish, names, spec, submit


@pytest.fixture
def aws():
    return account()


@pytest.fixture
def client(aws):
    return open_ledger(aws, "cl-1")


@pytest.fixture
def one(aws):
    return open_ledger(aws, "ma-1")


@pytest.fixture
def two(aws):
    return open_ledger(aws, "ma-2")


class Between:
    """Clients of one process; after one call, something else happens before it gets its answer."""

    def __init__(self, aws, holder):
        self._client = Source(aws, 1).of("dynamodb")
        self.after = {}

    def of(self, service):
        assert service == "dynamodb"
        return self

    def __getattr__(self, name):
        call = getattr(self._client, name)

        def called(**params):
            answer = call(**params)
            self.after.pop(name, lambda: None)()
            return answer

        return called


def alive(*holders):
    return lambda holder: holder in holders


def entries(claims, status=Status.RETURNED, payload=b"result"):
    return [Entry(c.seq, c.fence, status, payload) for c in claims]


def claim(ledger, limit=100, now=NOW):
    return ledger.claim(POOL, limit, now)


def test_one_look_says_of_all_pools_what_looks_at_each_say(client, one):
    submit(client, number=200)
    client.submit(spec("g", function="fu-g"), 0, [b"x"], sealed=True, now=NOW)
    later = spec("later", function="fu-l")._replace(terms=Terms(not_before=NOW + 50))
    client.submit(later, 0, [b"x"], sealed=True, now=NOW)
    claim(one, limit=7)
    (of_g,) = one.claim("fu-g@1", 1, NOW)
    one.record(entries([of_g]))

    found = client.overview(NOW)

    assert found.counts == {POOL: PoolCounts(193, 0, 7), "fu-l@1": PoolCounts(0, 1, 0)}
    assert found.counts == {pool: client.counts(pool) for pool in client.pools()}
    assert found.next_due == client.next_due(NOW) == NOW + 50
    assert found.size >= 4


class TestRings:
    def test_a_submission_rings_once_for_each_page(self, client):
        submit(client, number=200)

        rings = client.rings()

        assert [(ring.function_id, ring.pool) for ring in rings] == [("fu-f", POOL)] * 3
        assert client.rings() == []

    def test_who_hears_a_ring_claims_without_reading(self, aws, client, one):
        submit(client, number=5)
        (ring,) = client.rings()
        before = dict(aws.faults.calls)
        one.hear(ring)

        claims = claim(one)

        assert names(claims) == ["map0", "map1", "map2", "map3", "map4"]
        assert claims[3].payload == b"fc-map[3]"
        asked = {op: n - before.get(op, 0) for op, n in aws.faults.calls.items()}
        assert {op: n for op, n in asked.items() if n} == {("dynamodb", "UpdateItem"): 1}

    def test_a_ring_without_anything_enclosed_is_as_good(self, client, one):
        submit(client, number=5)
        (ring,) = client.rings()
        one.hear(ring._replace(enclosed=b""))

        assert len(claim(one)) == 5

    @pytest.mark.parametrize("moment", ["get_item", "update_item"])
    def test_a_ring_that_comes_while_its_page_is_read_or_claimed_is_not_forgotten(
        self, aws, client, moment
    ):
        between = Between(aws, "ma-1")
        one = open_ledger(aws, "ma-1", clients=between)
        submit(client, number=5)
        (ring,) = client.rings()
        ring = ring._replace(enclosed=b"")
        one.hear(ring)
        if moment == "get_item":
            assert len(claim(one)) == 5
            one.hear(ring)

        def more():
            submit(client, number=3, first=5)
            for each in client.rings():
                one.hear(each)

        between.after[moment] = more
        assert len(claim(one)) == (5 if moment == "update_item" else 0)
        assert len(claim(one)) == 3

    def test_a_forged_ring_brings_nothing_in(self, client, one):
        submit(client, number=2)
        (ring,) = client.rings()
        one.hear(ring._replace(enclosed=ring.enclosed[:-1] + b"X"))

        assert [c.payload for c in claim(one)] == [b"fc-map[0]", b"fc-map[1]"]

    def test_doubled_and_late_rings_change_nothing(self, client, one, two):
        submit(client, number=3)
        (ring,) = client.rings()
        for ledger in (one, one, two):
            ledger.hear(ring)
        claims = claim(one)
        assert claim(two) == []
        finish(one, claims)
        for ledger in (one, two):
            ledger.hear(ring)
            assert claim(ledger) == []
        client.forget(SPEC.call_id)
        two.hear(ring)
        assert claim(two) == []

    def test_a_late_ring_does_not_let_a_retry_begin_too_early(self, client, one, two):
        submit(client, number=2)
        (ring,) = client.rings()
        first, second = claim(one)
        one.retry(first.seq, first.fence, Counters(failures=1), NOW + 60)
        one.retry(second.seq, second.fence, Counters(crashes=1), 0.0, alone=True)

        two.hear(ring)
        claims = claim(two)

        assert [(c.index, c.alone, c.counters) for c in claims] == [(1, True, Counters(crashes=1))]

    def test_what_comes_back_is_rung_for(self, client, one, two):
        submit(client, number=2)
        (ring,) = client.rings()
        given, retried = claim(one)
        one.give_back([(given.seq, given.fence)])
        one.retry(retried.seq, retried.fence, Counters(failures=1), 0.0)

        assert [each.page for each in one.rings()] == [ring.page]

    def test_what_waits_for_a_time_is_not_rung_for_before(self, client, one):
        submit(client)
        client.rings()
        (held,) = claim(one)
        one.retry(held.seq, held.fence, Counters(failures=1), NOW + 60)
        submit(client, spec("s", CallKind.SPAWN)._replace(terms=Terms(not_before=NOW + 60)))

        assert one.rings() == client.rings() == []

    def test_inputs_that_fill_a_page_up_are_rung_for_and_claimed(self, client, one):
        submit(client, number=10)
        (first,) = client.rings()
        one.hear(first)
        claim(one)
        submit(client, number=10, first=10)
        (second,) = client.rings()
        assert second.page == first.page

        one.hear(second)
        assert [c.index for c in claim(one)] == list(range(10, 20))

    def test_a_large_page_encloses_nothing(self, client, one):
        client.submit(SPEC, 0, [b"x" * 60_000] * 2, sealed=True, now=NOW)
        (ring,) = client.rings()
        assert ring.enclosed == b""

        one.hear(ring)
        assert [len(c.payload) for c in claim(one)] == [60_000] * 2


class TestChunks:
    def test_the_chunk_of_a_superseded_holder_counts_for_nothing(self, client, one, two):
        submit(client, number=50, sealed=True)
        old = claim(one)
        client.repair(alive("ma-2"), NOW)
        new = claim(two)
        assert not any(one.record(entries(old, payload=b"old" * 100)))
        finish(two, new)

        found = client.outcomes(SPEC.call_id)
        assert [o.payload for o in found] == [b"result of fc-map[%d]" % i for i in range(50)]


class TestTheJanitor:
    def test_cancels_what_a_dead_machine_held_of_a_cancelled_call(self, client, one):
        submit(client, number=2, sealed=True)
        claim(one)
        client.cancel(SPEC.call_id)

        assert client.repair(alive(), NOW)[:2] == (0, 0)
        assert client.statuses(SPEC.call_id) == [Status.CANCELLED] * 2

    def test_says_what_it_took_from_whom(self, client, one, two):
        submit(client, number=3, sealed=True)
        taken, kept = claim(one, 2), claim(two, 1)

        found = client.repair(alive("ma-2"), NOW).taken

        assert {(each.seq, each.fence) for each in found} == {(c.seq, c.fence) for c in taken}
        assert {each.holder for each in found} == {"ma-1"}
        assert kept[0].seq not in {each.seq for each in found}
        assert client.repair(alive("ma-2"), NOW).taken == ()

    def test_rings_for_what_waits_and_nobody_heard_of(self, client):
        janitor = client
        submit(client)
        (ring,) = client.rings()

        assert janitor.repair(alive(), NOW + 1).rings == ()
        (again,) = janitor.repair(alive(), NOW + 31).rings
        assert again == ring._replace(enclosed=b"")
        assert janitor.repair(alive(), NOW + 32).rings == ()
        assert len(janitor.repair(alive(), NOW + 62).rings) == 1
        assert janitor.repair(alive(), NOW + 93).rings == ()

    def test_rings_as_soon_as_a_delay_is_over(self, client, one):
        submit(client, spec("s", CallKind.SPAWN)._replace(terms=Terms(not_before=NOW + 60)))
        submit(client)
        (held,) = claim(one)
        one.retry(held.seq, held.fence, Counters(failures=1), NOW + 50)

        assert client.repair(alive("ma-1"), NOW + 29).rings == ()
        (retried,) = client.repair(alive("ma-1"), NOW + 50).rings
        (delayed,) = client.repair(alive("ma-1"), NOW + 60).rings
        one.hear(retried)
        one.hear(delayed)
        assert sorted(names(claim(one, now=NOW + 60))) == ["map0", "s0"]

    def test_may_be_several(self, aws, client, one):
        submit(client, number=4)
        claim(one)
        janitors = [open_ledger(aws, f"pl-{number}") for number in range(3)]

        assert sum(each.repair(alive(), NOW).returned for each in janitors) == 4
        aws.clock.advance(5)
        assert [c.counters for c in claim(one)] == [Counters(losses=1)] * 4

    def test_clears_up_after_a_call_that_was_half_forgotten(self, aws, client):
        submit(client, number=2)
        (ring,) = client.rings()
        aws.client("dynamodb").delete_item(
            TableName=TABLE, Key={"pk": {"S": f"P#{ring.page}"}, "sk": {"S": "PAGE"}}
        )

        assert client.repair(alive(), NOW).rings == ()
        assert not [i for i in aws.dynamodb.truth(TABLE) if i["pk"]["S"].startswith("L#OPEN")]


class TestLostAnswers:
    """Who gets none asks again, in the same words."""

    @pytest.mark.parametrize("operation", ["TransactWriteItems", "PutItem", "BatchWriteItem"])
    def test_of_a_submission(self, aws, client, one, operation):
        payloads = [b"x" * 2_000] * 200
        aws.faults.lose_answer("dynamodb", operation)
        for _ in range(2):
            try:
                admission = client.submit(SPEC, 0, payloads, sealed=True, now=NOW)
                break
            except Error:
                continue

        assert admission == Admission(200)
        assert len({ring.page for ring in client.rings()}) == 3
        assert client.counts(POOL) == PoolCounts(200, 0, 0)
        assert [len(c.payload) for c in claim(one, 300)] == [2_000] * 200

    def test_of_a_submission_that_botocore_sends_again(self, aws, one):
        client = open_ledger(aws, "cl-1", attempts=5)
        aws.faults.lose_answer("dynamodb", "TransactWriteItems")

        assert submit(client, number=3) == Admission(3)
        assert len(client.rings()) == 1

    def test_of_a_claim_are_handed_out_with_the_next_one(self, aws, client, one):
        submit(client, number=3)
        aws.faults.lose_answer("dynamodb", "UpdateItem")
        with pytest.raises(Error):
            claim(one, 2)

        assert names(claim(one)) == ["map0", "map1", "map2"]
        assert client.counts(POOL) == PoolCounts(0, 0, 3)

    def test_of_a_claim_that_botocore_sends_again(self, aws, client):
        one = open_ledger(aws, "ma-1", attempts=5)
        submit(client, number=3)
        aws.faults.lose_answer("dynamodb", "UpdateItem")

        assert names(claim(one, 2)) == ["map0", "map1"]
        assert names(claim(one)) == ["map2"]

    def test_of_a_claim_that_nobody_repeats_goes_back(self, aws, client, one, two):
        submit(client, number=1)
        aws.faults.lose_answer("dynamodb", "UpdateItem")
        with pytest.raises(Error):
            claim(one)
        assert client.counts(POOL) == PoolCounts(0, 0, 1)

        for ring in one.rings():
            two.hear(ring)
        assert len(claim(two)) == 1

    @pytest.mark.parametrize("size", [10, 5_000])
    @pytest.mark.parametrize("attempts", [1, 5])
    def test_of_a_record_are_true_for_what_it_said(self, aws, client, size, attempts):
        one = open_ledger(aws, "ma-1", attempts=attempts)
        submit(client, number=3, sealed=True)
        wanted = entries(claim(one), payload=b"r" * size)
        aws.faults.lose_answer("dynamodb", "UpdateItem")
        try:
            answer = one.record(wanted)
        except Error:
            answer = one.record(wanted)

        assert answer == [True] * 3
        other = [each._replace(payload=b"another") for each in wanted]
        assert one.record(other) == [False] * 3
        assert [o.payload for o in client.outcomes(SPEC.call_id)] == [b"r" * size] * 3
        assert client.pools() == []

    def test_of_giving_back_lose_nothing(self, aws, client, one):
        submit(client)
        (held,) = claim(one)
        aws.faults.lose_answer("dynamodb", "UpdateItem")
        with pytest.raises(Error):
            one.give_back([(held.seq, held.fence)])

        assert one.give_back([(held.seq, held.fence)]) == [False]
        assert len(claim(one)) == 1

    def test_of_a_forgotten_call_are_harmless(self, aws, client):
        submit(client, number=100)
        aws.faults.lose_answer("dynamodb", "TransactWriteItems")
        with pytest.raises(Error):
            client.forget(SPEC.call_id)
        client.forget(SPEC.call_id)

        assert client.call(SPEC.call_id) is None
        assert client.counts(POOL) == PoolCounts(0, 0, 0)
        assert submit(client, number=2000) == Admission(2000)


class TestHalfForgottenCalls:
    """Large calls are forgotten in several steps, of which one may be the last one of a process."""

    @pytest.fixture
    def half(self, aws, client):
        """Return the ledger of whoever comes next."""
        submit(client, number=100 * pages.SLOTS, sealed=True)
        aws.faults.delay("dynamodb", "TransactWriteItems", 0.0)
        aws.faults.fail("dynamodb", "TransactWriteItems", "InternalServerError")
        with pytest.raises(Error):
            client.forget(SPEC.call_id)
        return open_ledger(aws, "cl-2", Limits(pending=20_000))

    @pytest.fixture
    def client(self, aws):
        return open_ledger(aws, "cl-1", Limits(pending=20_000))

    def test_are_gone_for_everybody(self, half):
        assert half.call(SPEC.call_id) is None
        assert half.calls(limit=9) == []
        assert half.counts(POOL).pending == 60 * pages.SLOTS

    def test_give_their_id_to_the_next_one(self, half):
        assert submit(half, number=3) == Admission(3)
        assert half.counts(POOL) == PoolCounts(3, 0, 0)

    def test_are_forgotten_for_good_with_what_has_expired(self, aws, half):
        half.expire(NOW + 10, 5.0)

        assert half.counts(POOL) == PoolCounts(0, 0, 0)
        assert not [i for i in aws.dynamodb.truth(TABLE) if i["sk"]["S"] in {"PAGE", "CALL"}]


class TestFaults:
    def test_throttling_is_waited_for(self, aws):
        client = open_ledger(aws, "cl-1", attempts=5)
        for operation in ("TransactWriteItems", "UpdateItem", "Query", "BatchGetItem", "PutItem"):
            aws.faults.fail("dynamodb", operation, "ThrottlingException", times=3)

        submit(client, number=100, sealed=True)
        finish(client, claim(client))
        assert len(client.outcomes(SPEC.call_id)) == 100

    def test_meeting_others_again_and_again_is_nothing_final(self, aws, client, one):
        submit(client)
        (held,) = claim(one)
        aws.faults.fail("dynamodb", "UpdateItem", "TransactionConflictException", times=10)
        with pytest.raises(ResourceExhaustedError):
            one.record(entries([held]))

        assert one.record(entries([held])) == [True]

    def test_a_nasty_table_does_no_harm(self):
        aws = account(Knobs(), seed=3)
        client, one = (open_ledger(aws, name, attempts=8) for name in ("cl-1", "ma-1"))
        submit(client, number=300, sealed=True)
        while claims := claim(one, 50):
            finish(one, claims)

        assert len(client.outcomes(SPEC.call_id)) == 300
        assert client.pools() == []

    def test_what_was_changed_in_the_table_is_not_run(self, aws, client, one):
        submit(client, number=100, sealed=True)
        table = aws.client("dynamodb")
        (item,) = [
            each
            for each in aws.dynamodb.truth(TABLE)
            if each["sk"]["S"].startswith("IN#") and len(each["y"]["B"]) > 800
        ]
        table.put_item(TableName=TABLE, Item={**item, "y": {"B": b"x" * 900}})

        assert [c.index for c in claim(one)] == list(range(96, 100))
        with pytest.raises(DataLossError, match="not authentic"):
            claim(one)
        assert client.counts(POOL) == PoolCounts(96, 0, 4)

    def test_what_has_gone_from_the_table_is_given_up(self, aws, client, one):
        submit(client, number=100, sealed=True)
        (key,) = [
            {name: each[name] for name in ("pk", "sk")}
            for each in aws.dynamodb.truth(TABLE)
            if each["sk"]["S"].startswith("IN#") and len(each["y"]["B"]) > 800
        ]
        aws.client("dynamodb").delete_item(TableName=TABLE, Key=key)

        assert [c.index for c in claim(one)] == list(range(96, 100))
        lost = client.outcomes(SPEC.call_id)
        assert [o.status for o in lost] == [Status.LOST] * 96
        assert b"are gone" in lost[0].payload

    def test_what_was_changed_in_the_table_is_no_result(self, aws, client, one):
        submit(client, number=1, sealed=True)
        finish(one, claim(one))
        (page,) = [i for i in aws.dynamodb.truth(TABLE) if i["sk"]["S"] == "PAGE"]
        page["o"]["M"]["k0"] = {"B": b"x" * 60}
        aws.client("dynamodb").put_item(TableName=TABLE, Item=page)

        with pytest.raises(DataLossError):
            client.outcomes(SPEC.call_id)


class TestLimits:
    LIMITS = Limits(pending=100, total=150, spawn_pending=40)

    def test_hold_for_all_clients_together(self, aws):
        clients = [open_ledger(aws, f"cl-{i}", self.LIMITS) for i in range(4)]
        calls = [spec(f"{i}", CallKind.MAP) for i in range(4)]
        known = [submit(c, call, 30).known for c, call in zip(clients, calls, strict=True)]

        assert known == [30, 30, 30, 10]
        one = open_ledger(aws, "ma-1", self.LIMITS)
        claim(one, 60)
        more = submit(clients[3], calls[3], 50, first=10)
        assert more.known == 60
        assert submit(clients[2], calls[2], 50, first=30).known == 30
        refused = submit(clients[0], calls[0], 5, first=30)
        assert "has 150 inputs, the limit is 150" in refused.refused

    def test_are_not_used_up_by_calls_that_nobody_cleared_away(self, aws):
        client = open_ledger(aws, "cl-1", self.LIMITS)
        one = open_ledger(aws, "ma-1", self.LIMITS)
        for number in range(60):
            assert submit(client, spec(f"s{number}", CallKind.SPAWN), sealed=True).known == 1
            assert submit(client, spec(f"r{number}"), sealed=True).known == 1
            finish(one, claim(one))


class TestRepliesAndTimes:
    def test_the_address_of_the_client_is_known(self, client, one, two):
        submit(client, SPEC._replace(reply="queue-7"))
        (ring,) = client.rings()
        one.hear(ring)

        assert one.reply_to(SPEC.call_id) == "queue-7"
        assert two.reply_to(SPEC.call_id) == "queue-7"
        assert two.reply_to("fc-nobody") == ""

    def test_what_nobody_fetches_goes_by_itself(self, aws, client, one):
        client.submit(SPEC, 0, [b"x" * 2_000] * 3, sealed=True, now=NOW)
        client.submit(spec("s", CallKind.SPAWN_MAP), 0, [b"x" * 2_000] * 3, sealed=True, now=NOW)
        for each in claim(one):
            one.record(entries([each], payload=b"y" * 3_000))
        aws.clock.advance(40 * 86_400)
        client.repair(alive(), aws.clock.wall())

        left = {item["pk"]["S"] for item in aws.dynamodb.truth(TABLE)}
        numbers = [pages.partition(each.seq >> pages.SEQ_BITS) for each in claim(one)]
        assert numbers == []
        assert len([pk for pk in left if pk.startswith("P#")]) == 1
        assert len(client.outcomes("fc-s")) == 3
