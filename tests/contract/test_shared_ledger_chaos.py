"""Clients, machines and a janitor in any order, on a nasty table: nothing lost, nothing doubled.

A seed is a story. Steps of all actors are mixed; before a step, its next request may be lost on
the way, be carried out without an answer, or be throttled. Machines die with what they hold,
and some go on although their lease is over. At last all is calm, and the books must balance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from random import Random
from threading import Semaphore, Thread
from typing import Any

import pytest

from cloudfn.errors import Error
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.providers.aws.ledger import pages
from cloudfn.providers.aws.ledger.ledger import DynamoLedger
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.ledger import CallSpec, Claim, Entry, PoolCounts
from cloudfn.settings import Limits
from cloudfn.testing.aws import FakeAws, Knobs
from tests.contract.dynamo_ledgers import NOW, TABLE, account, open_ledger

LIMITS = Limits(pending=40, total=60, spawn_pending=50)
POOL = "fu-f@1"
STEPS = 350


def payload(call_id: str, index: int) -> bytes:
    return f"{call_id}[{index}]".encode() * (1 + 40 * (index % 7 == 3))


def result(claim: Claim) -> bytes:
    return b"%d:" % claim.fence + claim.payload


class Client:
    """Submits one call in lots, and collects what comes of it."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.ledger = world.open(f"cl-{number}")
        kind = (CallKind.MAP, CallKind.SPAWN_MAP, CallKind.REMOTE)[number % 3]
        self.spec = CallSpec(
            f"fc-{number}",
            "fu-f",
            POOL,
            kind,
            NOW + number,
            durable=kind.durable,
            reply=f"q{number}",
        )
        self.total = 1 if kind is CallKind.REMOTE else world.random.randrange(20, 150)
        self.known = 0
        self.seen: dict[int, tuple[Status, bytes]] = {}

    def step(self) -> None:
        if self.known < self.total and self.world.random.random() < 0.7:
            lot = self.world.random.randrange(1, 40)
            end = min(self.known + lot, self.total)
            payloads = [payload(self.spec.call_id, i) for i in range(self.known, end)]
            admission = self.ledger.submit(
                self.spec, self.known, payloads, sealed=end == self.total, now=self.world.now
            )
            assert admission.known >= self.known
            assert admission.known <= end or admission.known <= self.total
            self.known = admission.known
            self.world.ring(self.ledger)
        elif self.known:
            self.look()

    def look(self) -> None:
        for outcome in self.ledger.outcomes(self.spec.call_id):
            found = (outcome.status, outcome.payload)
            assert self.seen.setdefault(outcome.index, found) == found


class Machine:
    """Claims, runs and records; repeats what got no answer."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.ledger = world.open(name)
        self.held: list[Claim] = []
        #: recorded, and not answered
        self.unsure: list[tuple[list[Claim], list[Entry]]] = []

    def step(self) -> None:
        choice = self.world.random.random()
        if self.unsure:
            self.record(*self.unsure.pop())
        elif choice < 0.4 or not self.held:
            self.claim()
        elif choice < 0.85:
            self.finish()
        elif choice < 0.93:
            claim = self.held[-1]
            self.ledger.give_back([(claim.seq, claim.fence)])
            self.held.pop()
        else:
            claim = self.held[-1]
            counters = Counters(claim.counters.failures + 1, 0, claim.counters.losses)
            later = self.world.now + self.world.random.choice([0, 0, 20])
            alone = self.world.random.random() < 0.3
            self.ledger.retry(claim.seq, claim.fence, counters, later, alone=alone)
            self.held.pop()
        self.world.ring(self.ledger)

    def claim(self) -> None:
        for ring in self.world.heard():
            self.ledger.hear(ring)
        claims = self.ledger.claim(POOL, self.world.random.randrange(1, 12), self.world.now)
        assert len(claims) == 1 or not any(claim.alone for claim in claims)
        for claim in claims:
            assert claim.payload == payload(claim.call_id, claim.index)
            self.world.claimed(self, claim)
        self.held += claims

    def finish(self) -> None:
        number = self.world.random.randrange(1, len(self.held) + 1)
        claims, self.held = self.held[:number], self.held[number:]
        statuses = (Status.RETURNED, Status.RETURNED, Status.RAISED)
        entries = [
            Entry(c.seq, c.fence, self.world.random.choice(statuses), result(c)) for c in claims
        ]
        self.record(claims, entries)

    def record(self, claims: list[Claim], entries: list[Entry]) -> None:
        try:
            answers = self.ledger.record(entries)
        except Error:
            self.unsure.append((claims, entries))
            raise
        for claim, entry, answer in zip(claims, entries, answers, strict=True):
            if answer:
                self.world.recorded(claim, entry)


class World:
    """Everybody, the clock, and what is known to be true."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.aws: FakeAws = account(Knobs(), seed=seed)
        self.rings: list[Ring] = []
        self.living: set[str] = set()
        self.zombies: list[Machine] = []
        self.machines: list[Machine] = []
        self.fences: defaultdict[tuple[str, int], int] = defaultdict(int)
        #: the outcome that was acknowledged to a holder
        self.truth: dict[tuple[str, int], tuple[Status, bytes]] = {}
        self.clients = [Client(self, number) for number in range(4)]
        self.born = 0
        for _ in range(3):
            self.bear()
        self.janitor = self.open("pl-1")

    @property
    def now(self) -> float:
        return self.aws.clock.wall()

    def open(self, name: str) -> DynamoLedger:
        attempts = self.random.choice([1, 1, 6])
        return open_ledger(self.aws, name, LIMITS, attempts=attempts, seed=self.seed)

    def bear(self) -> None:
        self.born += 1
        self.machines.append(Machine(self, f"ma-{self.born}"))
        self.living.add(self.machines[-1].name)

    def ring(self, ledger: DynamoLedger) -> None:
        """Send rings, of which some are lost and some doubled."""
        for ring in ledger.rings():
            self.rings += [ring] * self.random.choice([0, 1, 1, 2])

    def heard(self) -> list[Ring]:
        number = min(len(self.rings), 3)
        self.random.shuffle(self.rings)
        heard, self.rings = self.rings[:number], self.rings[number:]
        return heard

    def claimed(self, machine: Machine, claim: Claim) -> None:
        key = claim.call_id, claim.index
        assert key not in self.truth, "what has an outcome never runs again"
        if machine.name in self.living:
            # A zombie's claim may be news of long ago.
            assert claim.fence > self.fences[key]
        self.fences[key] = max(self.fences[key], claim.fence)

    def recorded(self, claim: Claim, entry: Entry) -> None:
        found = (Status(entry.status), entry.payload)
        assert self.truth.setdefault((claim.call_id, claim.index), found) == found

    def step(self) -> None:
        self.aws.clock.advance(self.random.choice([0.01, 0.1, 1.0]))
        actor = self.random.random()
        if actor < 0.25:
            act: Callable[[], None] = self.random.choice(self.clients).step
        elif actor < 0.9:
            act = self.random.choice(self.machines + self.zombies[-2:]).step
        elif actor < 0.96:
            act = self.repair
        else:
            act = self.kill
        self.trouble()
        try:
            act()
        except Error:
            pass
        finally:
            self.aws.faults.heal()
        if self.random.random() < 0.2:
            self.check_limits()

    def trouble(self) -> None:
        faults, chance = self.aws.faults, self.random.random()
        skipped = self.random.randrange(3)
        if chance < 0.15:
            faults.delay("dynamodb", "*", 0.0, times=skipped)
            faults.lose_answer("dynamodb", "*")
        elif chance < 0.2:
            faults.fail("dynamodb", "*", "InternalServerError")
        elif chance < 0.25:
            faults.fail("dynamodb", "*", "ThrottlingException", times=2)

    def repair(self) -> None:
        repairs = self.janitor.repair(lambda holder: holder in self.living, self.now)
        self.rings += repairs.rings

    def kill(self) -> None:
        machine = self.machines.pop(self.random.randrange(len(self.machines)))
        self.living.discard(machine.name)
        if self.random.random() < 0.5:
            self.zombies.append(machine)
        self.bear()

    def pages(self) -> list[pages.Page]:
        from cloudfn.providers.aws.table import _plain

        items = self.aws.dynamodb.truth(TABLE)
        return [pages.from_item(_plain(item)) for item in items if item["sk"]["S"] == "PAGE"]

    def check_limits(self) -> None:
        found = [page for page in self.pages() if not page.kind.durable]
        assert sum(page.unfinished for page in found) <= LIMITS.total
        for page in self.pages():
            statuses = page.statuses()
            assert page.waiting == statuses.count(Status.PENDING)
            assert page.unfinished == page.waiting + statuses.count(Status.RUNNING)

    def calm_down(self) -> None:
        self.zombies.clear()
        for _ in range(3_000):
            self.aws.clock.advance(5.0)
            if all(client.known == client.total for client in self.clients) and not any(
                page.unfinished for page in self.pages()
            ):
                return
            for actor in (*self.clients, *self.machines):
                try:
                    actor.step()
                except Error:
                    continue
            try:
                self.repair()
            except Error:
                continue
        raise AssertionError("something never ended")


@pytest.mark.parametrize(
    "seed",
    [*range(4), 200, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(4, 200))],
)
def test_nothing_is_lost_and_nothing_doubled(seed):
    world = World(seed)
    for _ in range(STEPS):
        world.step()
    world.calm_down()

    reader = open_ledger(world.aws, "cl-9", attempts=8)
    for client in world.clients:
        outcomes = {o.index: (o.status, o.payload) for o in reader.outcomes(client.spec.call_id)}
        assert sorted(outcomes) == list(range(client.total))
        for index, (status, data) in outcomes.items():
            acknowledged = world.truth.get((client.spec.call_id, index))
            assert acknowledged in (None, (status, data))
            assert client.seen.get(index, (status, data)) == (status, data)
            if status is not Status.LOST:
                assert data.partition(b":")[2] == payload(client.spec.call_id, index)
    for _ in range(3):
        try:
            world.repair()
        except Error:
            continue
    assert reader.counts(POOL) == PoolCounts(0, 0, 0)
    counters = [i for i in world.aws.dynamodb.truth(TABLE) if i["sk"]["S"] == "COUNT"]
    for item in counters:
        numbers = {name: each["N"] for name, each in item.items() if "N" in each}
        assert set(numbers.values()) == {"0"}, numbers
    assert not [i for i in world.aws.dynamodb.truth(TABLE) if i["pk"]["S"].startswith("L#OPEN")]


def together(acts: list[tuple[Any, ...]], problems: list[BaseException]) -> None:
    """Do things in threads of their own; note what goes wrong, so that the others stop."""
    done = Semaphore(0)

    def guarded(act: Callable[..., None], *arguments: Any) -> None:
        try:
            act(*arguments)
        except BaseException as problem:
            problems.append(problem)
            raise
        finally:
            done.release()

    for act in acts:
        Thread(target=guarded, args=act, daemon=True).start()
    for _ in acts:
        assert done.acquire(timeout=60)


def test_threads_of_several_processes_do_not_get_in_each_others_way():
    aws = account()
    limits = Limits(pending=30, total=45)
    clients = [
        open_ledger(aws, f"cl-{number}", limits, attempts=8, threads=2) for number in range(2)
    ]
    machines = [
        open_ledger(aws, f"ma-{number}", limits, attempts=8, threads=2) for number in range(2)
    ]
    wanted = 120
    claimed: list[tuple[str, int]] = []
    problems: list[BaseException] = []

    def submit(ledger: DynamoLedger, call_id: str) -> None:
        spec = CallSpec(call_id, "fu-f", POOL, CallKind.MAP, NOW)
        known = 0
        while known < wanted and not problems:
            end = min(known + 17, wanted)
            payloads = [b"%d" % index for index in range(known, end)]
            known = ledger.submit(spec, known, payloads, sealed=end == wanted, now=NOW).known

    def work(ledger: DynamoLedger) -> None:
        while len(claimed) < 4 * wanted and not problems:
            aws.clock.advance(0.5)
            claims = ledger.claim(POOL, 4, NOW)
            claimed.extend((claim.call_id, claim.index) for claim in claims)
            entries = [Entry(c.seq, c.fence, Status.RETURNED, b"") for c in claims]
            assert all(ledger.record(entries))

    calls = [("fc-0", 0), ("fc-1", 1), ("fc-2", 0), ("fc-3", 1)]
    acts = [(submit, clients[number], call_id) for call_id, number in calls]
    acts += [(work, machine) for machine in (*machines, *machines)]
    together(acts, problems)

    assert problems == []
    assert len(set(claimed)) == len(claimed) == 4 * wanted
    clients[0].repair(lambda holder: True, NOW)
    assert clients[0].counts(POOL) == PoolCounts(0, 0, 0)
    (counters,) = [i for i in aws.dynamodb.truth(TABLE) if i["sk"]["S"] == "COUNT"]
    assert (counters["pending"], counters["total"]) == ({"N": "0"}, {"N": "0"})
