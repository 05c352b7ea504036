"""The outbox of a machine: written again until answered, and what follows from the answers."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cloudfn.errors import ConnectionError, RequestSizeError  # noqa: A004 - ours
from cloudfn.machine.outbox import Outbox
from cloudfn.model import ids
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.providers.ledger import CallSpec, Claim, Entry
from cloudfn.testing.cloud import MemoryCloud

PATIENCE = 20.0
POOL = "fu-f@1"


@dataclass
class World:
    """A cloud in memory, and the outbox of one of its machines."""

    cloud: MemoryCloud
    told: list[tuple[int, bytes, bool | None]] = field(default_factory=list)
    back: list[Any] = field(default_factory=list)
    #: three were told
    all_told: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.cloud.doorbells.open("fu-f")
        ports = self.cloud.open("i-1")
        self.ledger: Any = ports.ledger
        self.outbox = Outbox(ports.ledger, ports.doorbells, self._tell, self.back.append)

    def _tell(self, recorded: Any) -> None:
        self.told += [(each.claim.index, each.entry.payload, each.taken) for each in recorded]
        if len(self.told) == 3:
            self.all_told.set()

    def claims(self, count: int) -> list[Claim]:
        """Submit inputs and claim them."""
        spec = CallSpec(ids.mint("fc"), "fu-f", POOL, CallKind.MAP, 0.0)
        self.ledger.submit(spec, 0, [b"x"] * count, sealed=True, now=1.0)
        self.ledger.rings()
        claims: list[Claim] = self.ledger.claim(POOL, count, 1.0)
        return claims


@pytest.fixture
def world(tmp_path: Path):
    world = World(MemoryCloud(tmp_path))
    yield world
    world.outbox.close()


def returned(claim: Claim, payload: bytes = b"y") -> Entry:
    return Entry(claim.seq, claim.fence, Status.RETURNED, payload)


def test_outcomes_are_recorded_together_and_told(world):
    claims = world.claims(5)

    for claim in claims:
        world.outbox.record(claim, returned(claim))

    assert world.outbox.flush(PATIENCE)
    assert sorted(world.told) == [(index, b"y", True) for index in range(5)]
    assert world.ledger.asked["record"] < 5


def test_outcomes_that_may_wait_are_recorded_together_with_one_that_may_not(world):
    claims = world.claims(3)

    for claim, patience in zip(claims, (1_000.0, 1_000.0, 0.0), strict=True):
        world.outbox.record(claim, returned(claim), patience)

    assert world.all_told.wait(PATIENCE)
    assert world.ledger.asked["record"] == 1


def test_an_outcome_that_may_wait_is_recorded_when_its_time_is_over(world):
    claims = world.claims(3)

    for claim in claims:
        world.outbox.record(claim, returned(claim), 0.001)

    assert world.all_told.wait(PATIENCE)


def test_what_is_given_back_takes_outcomes_along_that_may_wait(world):
    *claims, other = world.claims(4)

    for claim in claims:
        world.outbox.record(claim, returned(claim), 1_000.0)
    world.outbox.give_back([(other.seq, other.fence)])

    assert world.all_told.wait(PATIENCE)


def test_an_outcome_that_may_wait_does_not_when_all_is_to_be_written(world):
    [claim] = world.claims(1)
    world.outbox.record(claim, returned(claim), 1_000.0)

    assert world.outbox.flush(PATIENCE)
    assert world.told == [(0, b"y", True)]


def test_an_outcome_is_recorded_again_until_there_is_an_answer(world):
    [claim] = world.claims(1)
    for _ in range(2):
        world.ledger.fail_next("record", ConnectionError("no answer"))

    world.outbox.record(claim, returned(claim))

    assert world.outbox.flush(PATIENCE)
    assert world.told == [(0, b"y", True)]
    assert world.ledger.asked["record"] == 3


def test_what_can_never_be_recorded_ends_its_input_with_the_reason_and_keeps_no_other(world):
    claims = world.claims(2)
    for _ in range(2):  # both together, then the first one alone
        world.ledger.fail_next("record", RequestSizeError("It is too large."))

    for claim in claims:
        world.outbox.record(claim, returned(claim))

    assert world.outbox.flush(PATIENCE)
    statuses = world.ledger.statuses(claims[0].call_id)
    assert statuses == [Status.LOST, Status.RETURNED]
    assert b"too large" in world.ledger.outcomes(claims[0].call_id)[0].payload


def test_an_outcome_that_a_fence_refuses_is_told_as_dropped(world):
    [claim] = world.claims(1)
    world.ledger.give_back([(claim.seq, claim.fence)])

    world.outbox.record(claim, returned(claim))

    assert world.outbox.flush(PATIENCE)
    assert world.told == [(0, b"y", False)]


def test_nothing_of_what_is_dropped_is_written(world):
    claims = world.claims(2)
    asked = threading.Event()

    def fails(*_args: Any) -> None:
        asked.set()
        raise ConnectionError("no answer")

    world.ledger._port.record = fails
    world.outbox.record(claims[0], returned(claims[0]))
    assert asked.wait(PATIENCE)

    world.outbox.record(claims[1], returned(claims[1]))
    world.outbox.drop()

    assert world.outbox.flush(PATIENCE)
    # Of the first one nobody knows whether it was written: its payload may be in use.
    assert sorted(world.told) == [(0, b"y", None), (1, b"y", False)]
    assert world.ledger.statuses(claims[0].call_id) == [Status.RUNNING] * 2


def test_what_is_given_back_or_runs_again_rings_for_others(world):
    first, second = world.claims(2)

    world.outbox.give_back([(first.seq, first.fence)])
    world.outbox.retry(second, Counters(failures=1), 0.0, alone=False, done=lambda: None)

    assert world.outbox.flush(PATIENCE)
    assert world.ledger.counts(POOL).pending == 2
    assert world.cloud.doorbells.listen("fu-f", 0, 10)
    assert len(world.back) == 1
