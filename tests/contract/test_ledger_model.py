"""The SQLite ledger and the fake do the same, whatever is done to them in whatever order."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cloudfn.errors import ConflictError, Error, ResourceExhaustedError
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.providers.ledger import Admission, CallSpec, Claim, Entry, Ledger
from cloudfn.providers.local.ledger import SqliteLedger
from cloudfn.providers.local.residents import Budget
from cloudfn.settings import Limits
from cloudfn.testing.memory_ledger import MemoryLedger

LIMITS = Limits(pending=12, total=16, spawn_pending=14)
#: so small that most of a backlog is on disk only, and calls are dropped from memory
BUDGET = Budget(loaded=3, refill=2, payload_bytes=20, page_inputs=3, page_bytes=40, calls=1)
RETENTION = 50.0


def _spec(name: str, pool: str, kind: CallKind, parent: tuple[str, int] | None = None) -> CallSpec:
    function = pool.partition("@")[0]
    return CallSpec(f"fc-{name}", function, pool, kind, 1.0, parent, durable=kind.durable)


SPECS = (
    _spec("r1", "fu-f@1", CallKind.REMOTE),
    _spec("m1", "fu-f@1", CallKind.MAP),
    _spec("m2", "fu-f@2", CallKind.MAP, ("fc-m1", 0)),
    _spec("s1", "fu-f@1", CallKind.SPAWN_MAP),
    _spec("s2", "fu-f@1", CallKind.SPAWN, ("fc-m1", 1)),
    _spec("g1", "fu-g@1", CallKind.MAP),
)
IDS = tuple(spec.call_id for spec in SPECS)
POOLS = tuple(sorted({spec.pool for spec in SPECS}))
TERMINAL = [status for status in Status if status.terminal]

#: (call id, index)
Key = tuple[str, int]


class Twins(RuleBasedStateMachine):
    """Does everything to both ledgers and compares what they say."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="cloudfn-twins-"))
        self._now = 100.0
        self._real = self._open()
        self._fake = MemoryLedger(LIMITS)
        #: what runs, as each ledger calls it
        self._held: dict[Key, tuple[Claim, Claim]] = {}
        #: claims that ended in any way
        self._past: list[tuple[Claim, Claim]] = []
        #: the first outcome that was ever seen of an input of the present call of that id
        self._seen: dict[Key, tuple[Status, bytes]] = {}

    def _both(self) -> tuple[Ledger, Ledger]:
        return self._real, self._fake

    def _open(self) -> SqliteLedger:
        path = self._folder / "ledger.db"
        return SqliteLedger.open(path, LIMITS, now=self._now, budget=BUDGET)

    def teardown(self) -> None:
        self._real.close()
        shutil.rmtree(self._folder)

    # What clients do

    @rule(
        spec=st.sampled_from(SPECS),
        overlap=st.integers(-1, 2),
        sizes=st.lists(st.integers(0, 30), max_size=6),
        sealed=st.booleans(),
    )
    def submit(self, spec: CallSpec, overlap: int, sizes: list[int], sealed: bool) -> None:
        record = self._fake.call(spec.call_id)
        first = max(0, (record.known if record else 0) - overlap)
        payloads = [bytes([65 + (first + i) % 26]) * size for i, size in enumerate(sizes)]
        answers: list[Admission | None] = []
        for ledger in self._both():
            try:
                answers.append(ledger.submit(spec, first, payloads, sealed=sealed, now=self._now))
            except ConflictError:
                answers.append(None)
        assert answers[0] == answers[1]

    @rule(call_id=st.sampled_from(IDS), indices=st.lists(st.integers(0, 15), max_size=8))
    def deliver(self, call_id: str, indices: list[int]) -> None:
        self._real.delivered(call_id, indices)
        self._fake.delivered(call_id, indices)

    @rule(call_id=st.sampled_from(IDS))
    def cancel(self, call_id: str) -> None:
        real, fake = self._real.cancel(call_id), self._fake.cancel(call_id)
        assert [index for _, _, index in real] == [index for _, _, index in fake]
        for seq, fence, index in real:
            claim = self._held[call_id, index][0]
            assert (claim.seq, claim.fence) == (seq, fence)

    @rule(call_id=st.sampled_from(IDS))
    def forget(self, call_id: str) -> None:
        self._real.forget(call_id)
        self._fake.forget(call_id)
        self._drop_claims(key for key in self._held if key[0] == call_id)
        self._unsee(call_id)

    # What holders do

    @rule(pool=st.sampled_from(POOLS), limit=st.integers(1, 5), data=st.data())
    def claim(self, pool: str, limit: int, data: st.DataObject) -> None:
        """Both give out everything, so that their orders do not matter, and take back the rest."""
        real, fake = self._claim_all(pool, limit), self._claim_all(pool, 100, fake=True)
        assert real.keys() == fake.keys()
        for key, claim in real.items():
            twin = fake[key]
            assert (claim.payload, claim.counters) == (twin.payload, twin.counters)
            assert claim.alone == twin.alone
            assert key not in self._held
        kept = data.draw(st.sets(st.sampled_from(sorted(real)))) if real else set()
        rest = [key for key in real if key not in kept]
        self._held.update((key, (real[key], fake[key])) for key in kept)
        self._past += [(real[key], fake[key]) for key in rest]
        self._give_back([(real[key], fake[key]) for key in rest], expected=True)

    def _claim_all(self, pool: str, limit: int, *, fake: bool = False) -> dict[Key, Claim]:
        ledger = self._fake if fake else self._real
        claims: dict[Key, Claim] = {}
        while batch := ledger.claim(pool, limit, self._now):
            assert len(batch) <= limit
            assert len(batch) == 1 or not any(claim.alone for claim in batch)
            claims |= {(claim.call_id, claim.index): claim for claim in batch}
        return claims

    def _give_back(self, claims: list[tuple[Claim, Claim]], *, expected: bool) -> None:
        for ledger, side in ((self._real, 0), (self._fake, 1)):
            pairs = [(twins[side].seq, twins[side].fence) for twins in claims]
            assert ledger.give_back(pairs) == [expected] * len(claims)

    @precondition(lambda self: self._held)
    @rule(data=st.data(), status=st.sampled_from(TERMINAL))
    def record(self, data: st.DataObject, status: Status) -> None:
        keys = data.draw(st.lists(st.sampled_from(sorted(self._held)), unique=True))
        claims = [self._held[key] for key in keys]
        self._record(claims, status, expected=True)
        self._drop_claims(keys)

    def _record(self, claims: list[tuple[Claim, Claim]], status: Status, *, expected: bool) -> None:
        for ledger, side in ((self._real, 0), (self._fake, 1)):
            entries = [
                Entry(twins[side].seq, twins[side].fence, status, b"r%d" % twins[side].index)
                for twins in claims
            ]
            assert ledger.record(entries) == [expected] * len(claims)

    @precondition(lambda self: self._held)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 5.0, 20.0]), alone=st.booleans())
    def retry(self, data: st.DataObject, delay: float, alone: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self._held)))
        for ledger, claim in zip(self._both(), self._held[key], strict=True):
            counters = Counters(claim.counters.failures + 1, 0, claim.counters.losses)
            due = self._now + delay if delay else 0.0
            assert ledger.retry(claim.seq, claim.fence, counters, due, alone=alone)
        self._drop_claims([key])

    @precondition(lambda self: self._held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        keys = data.draw(st.lists(st.sampled_from(sorted(self._held)), unique=True))
        self._give_back([self._held[key] for key in keys], expected=True)
        self._drop_claims(keys)

    @precondition(lambda self: self._past)
    @rule(data=st.data())
    def write_with_a_superseded_fence(self, data: st.DataObject) -> None:
        twins = data.draw(st.sampled_from(self._past))
        self._record([twins], Status.RAISED, expected=False)
        self._give_back([twins], expected=False)
        for ledger, claim in zip(self._both(), twins, strict=True):
            assert not ledger.retry(claim.seq, claim.fence, Counters(), 0.0)

    def _drop_claims(self, keys: Iterable[Key]) -> None:
        for key in list(keys):
            self._past.append(self._held.pop(key))

    # What time and fate do

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self._now += seconds
        assert self._real.next_due(self._now) == self._fake.next_due(self._now)

    @rule()
    def expire(self) -> None:
        real, fake = (ledger.expire(self._now, RETENTION) for ledger in self._both())
        assert sorted(real) == sorted(fake)
        for call_id in IDS:
            if self._fake.call(call_id) is None:
                self._unsee(call_id)

    @rule()
    def commit(self) -> None:
        self._real.commit()
        self._fake.commit()

    @rule()
    def crash(self) -> None:
        self._real.close()
        self._real = self._open()
        self._fake.crash(self._now)
        self._drop_claims(list(self._held))
        self._seen.clear()

    @rule(statements=st.integers(1, 8))
    def fail_to_commit(self, statements: int) -> None:
        """The database gives up in the middle of a transaction; holders write nothing again."""
        store: Any = self._real._store
        connection = store._connection
        store._connection = _FailingConnection(connection, statements)
        try:
            self._real.commit()
        except Error:
            self._fake.fail_next("commit", ResourceExhaustedError("The disk is full."))
        finally:
            store._connection = connection
        try:
            self._fake.commit()
        except ResourceExhaustedError:
            self._after_failed_commit()

    def _after_failed_commit(self) -> None:
        """Find out what runs now: both ledgers must agree on it, and on the claims' validity."""
        self._seen.clear()
        every = [*self._past, *self._held.values()]
        running = [
            (call_id, index)
            for call_id in IDS
            for index, status in enumerate(self._fake.statuses(call_id))
            if status == Status.RUNNING
        ]
        # The newest claim of an input is the one that holds, if it runs.
        newest = {
            (twins[0].call_id, twins[0].index): twins
            for twins in sorted(every, key=lambda twins: twins[0].fence)
        }
        self._held = {key: newest[key] for key in running}
        self._past = [twins for twins in every if twins not in self._held.values()]

    # What holds all the time

    @invariant()
    def both_say_the_same(self) -> None:
        real, fake = self._real, self._fake
        assert real.calls(limit=99) == fake.calls(limit=99)
        assert real.calls(limit=2, functions=["fu-f"]) == fake.calls(limit=2, functions=["fu-f"])
        assert real.children("fc-m1") == fake.children("fc-m1")
        assert sorted(real.pools()) == sorted(fake.pools())
        for pool in POOLS:
            assert real.counts(pool) == fake.counts(pool)
        for call_id in IDS:
            assert real.call(call_id) == fake.call(call_id)
            assert real.statuses(call_id) == fake.statuses(call_id)
            if fake.call(call_id) is not None:
                assert real.outcomes(call_id) == fake.outcomes(call_id)

    @invariant()
    def an_input_has_one_outcome_for_ever(self) -> None:
        for call_id in IDS:
            record = self._real.call(call_id)
            if record is None:
                continue
            for outcome in self._real.outcomes(call_id):
                found = (outcome.status, outcome.payload)
                assert self._seen.setdefault((call_id, outcome.index), found) == found
            assert record.known == len(self._real.statuses(call_id))

    @invariant()
    def what_runs_is_what_is_held(self) -> None:
        running = {
            (call_id, index)
            for call_id in IDS
            for index, status in enumerate(self._real.statuses(call_id))
            if status == Status.RUNNING
        }
        assert running == self._held.keys()

    def _unsee(self, call_id: str) -> None:
        self._seen = {key: value for key, value in self._seen.items() if key[0] != call_id}


class _FailingConnection:
    """A connection whose n-th statement fails, once."""

    def __init__(self, connection: sqlite3.Connection, statements: int) -> None:
        self._connection = connection
        self._left = statements

    def _fail_in_time(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise sqlite3.OperationalError("database or disk is full")

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self._fail_in_time()
        return self._connection.execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        self._fail_in_time()
        return self._connection.executemany(*arguments)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction


Twins.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, report_multiple_bugs=False
)
TestTwins = Twins.TestCase
