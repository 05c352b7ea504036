"""Who is next in the SQLite ledger's queue, what of it is in memory, and how rows are packed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.errors import DataLossError
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.providers.ledger import CallSpec, Claim, Entry
from cloudfn.providers.local.ledger import SqliteLedger
from cloudfn.providers.local.queue import Queue
from cloudfn.providers.local.records import (
    Call,
    Lane,
    Page,
    join_payloads,
    pack_numbers,
    split_payloads,
    unpack_numbers,
)
from cloudfn.providers.local.residents import Budget
from cloudfn.settings import Limits

POOL = "fu-f@1"


def _ignore(_lane: Lane) -> None:
    return None


def _read_nothing(_page: Page) -> list[bytes]:
    raise AssertionError("the payloads are in memory")


class Line:
    """A queue with calls in it, without a disk."""

    def __init__(self, epoch: int = 1) -> None:
        self.dirty: dict[Call, None] = {}
        self.queue = Queue(epoch, self.dirty, _read_nothing, _ignore)
        self.lanes: dict[bool, Lane] = {}
        self.calls: dict[str, Call] = {}

    def add(self, name: str, number: int, kind: CallKind = CallKind.MAP) -> Call:
        lane = self.lanes.get(kind.durable)
        if lane is None:
            lane = Lane(len(self.lanes) + 1, "fu-f", POOL, spawn=kind.durable)
            self.lanes[kind.durable] = lane
            self.queue.add_lane(lane)
        call = self.calls.get(name)
        if call is None:
            call = self.calls[name] = Call(
                len(self.calls) + 1, CallSpec(name, "fu-f", POOL, kind, 0.0), lane
            )
        page = Page(lane.next_seq, call, len(call.statuses), number)
        page.payloads = [b""] * number
        call.statuses += bytes(number)
        lane.next_seq += number
        lane.pending += number
        self.queue.add_fresh(page)
        return call

    def claim(self, limit: int) -> list[str]:
        return [f"{c.call_id}{c.index}" for c in self.queue.claim(POOL, limit)]


class TestOrder:
    def test_one_call_comes_in_its_own_order_over_all_of_its_pages(self):
        line = Line()
        line.add("a", 3)
        line.add("a", 3)

        assert line.claim(4) == ["a0", "a1", "a2", "a3"]
        assert line.claim(4) == ["a4", "a5"]
        assert line.claim(4) == []

    def test_calls_share_a_claim_and_who_has_less_leaves_the_rest_to_others(self):
        line = Line()
        line.add("a", 50)
        line.add("b", 1)
        line.add("c", 2)

        claimed = line.claim(12)

        assert len(claimed) == 12
        assert {"b0", "c0", "c1"} <= set(claimed)

    def test_calls_take_turns_over_claims_of_one(self):
        line = Line()
        line.add("a", 3)
        line.add("b", 3)

        assert [line.claim(1)[0] for _ in range(6)] == ["a0", "b0", "a1", "b1", "a2", "b2"]

    def test_lanes_share_a_claim_and_an_empty_one_leaves_it_all_to_the_other(self):
        line = Line()
        line.add("m", 3)
        line.add("s", 20, CallKind.SPAWN_MAP)

        first = line.claim(8)

        assert sorted(first) == ["m0", "m1", "m2", "s0", "s1", "s2", "s3", "s4"]
        assert len(line.claim(8)) == 8

    def test_counts_follow(self):
        line = Line()
        call = line.add("a", 5)
        line.claim(2)

        lane = line.lanes[False]
        assert (lane.pending, lane.loaded, lane.running, call.running) == (3, 3, 2, 2)
        assert call.statuses == bytearray([1, 1, 0, 0, 0])
        assert line.dirty == {call: None}
        assert call.changed == {0}


class TestFences:
    def test_of_first_claims_are_those_of_the_epoch(self):
        assert Line(7).queue.next_fence(0) == 7 << 10
        assert Line(7).queue.next_fence((6 << 10) + 500) == 7 << 10

    def test_of_further_claims_grow_by_one(self):
        assert Line(7).queue.next_fence((7 << 10) + 3) == (7 << 10) + 4

    def test_that_use_an_epoch_up_begin_the_next_one(self):
        queue = Line(7).queue

        assert queue.next_fence((8 << 10) - 1) == 8 << 10
        assert queue.epoch == 8
        assert queue.next_fence(0) == 8 << 10


class TestMemory:
    """The ledger with a tiny budget: most of a backlog is on disk only."""

    BUDGET = Budget(loaded=10, refill=6, payload_bytes=200, page_inputs=4, page_bytes=150, calls=5)

    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Iterator[SqliteLedger]:
        ledger = SqliteLedger.open(tmp_path / "ledger.db", Limits(), now=0.0, budget=self.BUDGET)
        yield ledger
        ledger.close()

    def spawn(self, ledger: SqliteLedger, number: int) -> CallSpec:
        spec = CallSpec(f"fc-{number}", "fu-f", POOL, CallKind.SPAWN, 0.0, durable=True)
        ledger.submit(spec, 0, [b"p%d" % number], sealed=True, now=0.0)
        return spec

    def calls_in_memory(self, ledger: SqliteLedger) -> int:
        return sum(1 for _ in ledger._memory.in_memory())

    def test_a_backlog_of_many_calls_stays_on_disk_and_comes_back_in_order(self, ledger):
        for number in range(300):
            self.spawn(ledger, number)
            ledger.commit()
        assert self.calls_in_memory(ledger) < 30

        claimed: list[Claim] = []
        while batch := ledger.claim(POOL, 7, 0.0):
            claimed += batch
            ledger.record([Entry(c.seq, c.fence, Status.RETURNED, b"") for c in batch])
            ledger.commit()
            assert self.calls_in_memory(ledger) < 30

        assert [c.call_id for c in claimed] == [f"fc-{number}" for number in range(300)]
        assert [c.payload for c in claimed] == [b"p%d" % number for number in range(300)]
        assert ledger.pools() == []

    def test_payloads_beyond_the_budget_are_read_when_they_are_claimed(self, ledger):
        spec = CallSpec("fc-m", "fu-f", POOL, CallKind.MAP, 0.0)
        payloads = [bytes([number]) * 60 for number in range(40)]
        ledger.submit(spec, 0, payloads, sealed=True, now=0.0)
        ledger.commit()
        assert ledger._memory._bytes < 400

        claims = ledger.claim(POOL, 3, 0.0) + ledger.claim(POOL, 100, 0.0)

        assert [c.payload for c in claims] == payloads
        ledger.record([Entry(c.seq, c.fence, Status.RETURNED, b"") for c in claims])
        assert ledger._memory._bytes == 0

    def test_what_waits_on_disk_only_may_be_claimed_before_it_is_committed(self, ledger):
        spec = CallSpec("fc-m", "fu-f", POOL, CallKind.MAP, 0.0)
        ledger.submit(spec, 0, [b"x"] * 50, sealed=True, now=0.0)

        assert [c.index for c in ledger.claim(POOL, 100, 0.0)] == list(range(50))

    def test_a_missing_payload_is_an_error_and_nobody_holds_what_was_claimed_with_it(self, ledger):
        spec = CallSpec("fc-m", "fu-f", POOL, CallKind.MAP, 0.0)
        ledger.submit(spec, 0, [b"x" * 60] * 8, sealed=True, now=0.0)
        ledger.commit()
        last = ledger._store.number("SELECT max(seq) FROM payload")
        row = ledger._store.read("SELECT * FROM payload WHERE seq=?", (last,))[0]
        ledger._connection.execute("DELETE FROM payload WHERE seq=?", (last,))

        with pytest.raises(DataLossError, match="fc-m"):
            ledger.claim(POOL, 100, 0.0)

        assert ledger.counts(POOL).running == 0
        ledger._connection.execute("INSERT INTO payload VALUES (?, ?, ?, ?, ?, ?)", row)
        assert [c.index for c in ledger.claim(POOL, 100, 0.0)] == list(range(8))

    def test_retries_of_inputs_that_wait_on_disk_only_are_found_after_a_restart(self, tmp_path):
        path = tmp_path / "other.db"
        ledger = SqliteLedger.open(path, Limits(), now=0.0, budget=self.BUDGET)
        spec = CallSpec("fc-m", "fu-f", POOL, CallKind.MAP, 0.0)
        ledger.submit(spec, 0, [b"%d" % number for number in range(60)], sealed=True, now=0.0)
        claims = ledger.claim(POOL, 60, 0.0)
        for claim in claims:
            if claim.index in (17, 55):
                ledger.retry(claim.seq, claim.fence, Counters(failures=2), 9.0)
        rest = [(c.seq, c.fence) for c in claims if c.index not in (17, 55)]
        assert all(ledger.give_back(rest))
        ledger.commit()
        ledger.close()

        ledger = SqliteLedger.open(path, Limits(), now=1.0, budget=self.BUDGET)
        early = ledger.claim(POOL, 100, 1.0)
        late = ledger.claim(POOL, 100, 9.0)
        ledger.close()

        assert sorted(c.index for c in early) == sorted({*range(60)} - {17, 55})
        assert sorted((c.index, c.counters.failures) for c in late) == [(17, 2), (55, 2)]
        assert all(c.payload == b"%d" % c.index for c in early + late)

    def test_a_call_that_ends_and_leaves_memory_gets_its_stamp_all_the_same(self, ledger):
        for number in range(20):
            self.spawn(ledger, number)
        (claim,) = ledger.claim(POOL, 1, 0.0)
        ledger.record([Entry(claim.seq, claim.fence, Status.RETURNED, b"")])
        for _ in range(3):
            ledger.commit()
        ledger.next_due(100.0)

        assert ledger.expire(149.0, 50.0) == []
        assert ledger.expire(150.0, 50.0) == [claim.call_id]


class TestTheFile:
    def test_keeps_nothing_of_calls_that_are_forgotten(self, tmp_path):
        """Whatever happened to them: retries, losses, restarts, partial deliveries."""
        path = tmp_path / "ledger.db"
        ledger = SqliteLedger.open(path, Limits(), now=0.0)
        done = CallSpec("fc-done", "fu-f", POOL, CallKind.MAP, 0.0)
        stopped = CallSpec("fc-stopped", "fu-f", POOL, CallKind.SPAWN_MAP, 0.0, durable=True)
        for spec in (done, stopped):
            ledger.submit(spec, 0, [b"x"] * 1_500, sealed=True, now=0.0)
        claims = ledger.claim(POOL, 3_000, 0.0)
        for claim in claims[::7]:
            ledger.retry(claim.seq, claim.fence, Counters(failures=1), 0.0, alone=True)
        ledger.commit()
        ledger.close()

        ledger = SqliteLedger.open(path, Limits(), now=0.0)
        while batch := ledger.claim(POOL, 3_000, 0.0):
            mine = [claim for claim in batch if claim.call_id == done.call_id]
            ledger.record([Entry(c.seq, c.fence, Status.RETURNED, b"r") for c in mine])
            ledger.commit()
            if len(batch) > 1:
                ledger.delivered(done.call_id, [claim.index for claim in mine[::2]])
                ledger.commit()
        ledger.close()

        ledger = SqliteLedger.open(path, Limits(), now=0.0)
        running = ledger.claim(POOL, 100, 0.0)
        ledger.cancel(stopped.call_id)
        ledger.give_back([(claim.seq, claim.fence) for claim in running])
        left = [outcome.index for outcome in ledger.outcomes(done.call_id)]
        ledger.delivered(done.call_id, left)
        ledger.commit()
        for table in ("payload", "outcome", "scar"):
            assert ledger._store.number(f"SELECT count(*) FROM {table}") == 0, table
        ledger.forget(stopped.call_id)
        ledger.forget(done.call_id)
        ledger.commit()
        for table in ("call", "block"):
            assert ledger._store.number(f"SELECT count(*) FROM {table}") == 0, table
        ledger.close()


class TestPacking:
    @given(st.lists(st.binary(max_size=40), min_size=1, max_size=20))
    def test_payloads_come_back(self, payloads):
        assert split_payloads(*join_payloads(payloads)) == payloads

    @given(st.lists(st.integers(0, 2**32 - 1)))
    def test_numbers_come_back(self, numbers):
        assert list(unpack_numbers(pack_numbers(numbers))) == numbers
