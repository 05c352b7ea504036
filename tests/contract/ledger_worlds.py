"""A ledger of each kind, what may happen to it, and how tests speak to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest

from cloudfn.errors import ResourceExhaustedError
from cloudfn.model.call import CallKind, Status
from cloudfn.providers.ledger import (
    Admission,
    CallRecord,
    CallSpec,
    Claim,
    Entry,
    Ledger,
)
from cloudfn.providers.local.ledger import SqliteLedger
from cloudfn.settings import Limits
from cloudfn.testing.memory_ledger import MemoryLedger
from tests.contract.dynamo_ledgers import account, open_ledger

NOW = 1_000.0
WEEK = 7 * 86_400.0
POOL = "fu-f@1"
SPEC = CallSpec("fc-map", "fu-f", POOL, CallKind.MAP, NOW)


class World(Protocol):
    """A ledger and what may happen to it."""

    @property
    def ledger(self) -> Ledger:
        """The ledger, as it is now."""

    def crash(self) -> None:
        """The process dies without a commit, and a new one opens the ledger."""

    def fill_disk(self) -> None:
        """From now on, nothing can be written."""

    def free_disk(self) -> None:
        """Everything can be written again."""


class SqliteWorld:
    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self.ledger = SqliteLedger.open(path, limits, now=NOW)

    def crash(self) -> None:
        self.ledger.close()
        self.ledger = SqliteLedger.open(self._path, self._limits, now=NOW)

    def fill_disk(self) -> None:
        (pages,) = self.ledger._connection.execute("PRAGMA page_count").fetchone()
        self._limit_pages(pages)

    def free_disk(self) -> None:
        self._limit_pages(1 << 30)

    def _limit_pages(self, pages: int) -> None:
        self.ledger._connection.execute(f"PRAGMA max_page_count={pages}")


class MemoryWorld:
    def __init__(self, limits: Limits) -> None:
        self.ledger = MemoryLedger(limits)

    def crash(self) -> None:
        self.ledger.crash(NOW)

    def fill_disk(self) -> None:
        for _ in range(2):
            self.ledger.fail_next("commit", ResourceExhaustedError("The disk is full."))

    def free_disk(self) -> None:
        self.ledger._failures.clear()


class DynamoWorld:
    """A machine's ledger in DynamoDB; a crash is its end, and another one comes."""

    def __init__(self, limits: Limits) -> None:
        self._aws = account()
        self._limits = limits
        self._numbers = count(1)
        self._open()

    def _open(self) -> None:
        self._holder = f"ma-{next(self._numbers)}"
        self.ledger = open_ledger(self._aws, self._holder, self._limits)

    def crash(self) -> None:
        self._open()
        self.ledger.repair(lambda holder: holder == self._holder, NOW)

    def fill_disk(self) -> None:
        raise AssertionError("there is no disk")

    def free_disk(self) -> None:
        raise AssertionError("there is no disk")


Build = Callable[..., World]
#: Tests of a ledger that one process owns: what it does between two commits, when its disk is full,
#: and what it thinks of the time meanwhile. A shared ledger's writes are durable at once.
owned = pytest.mark.parametrize("build", ["sqlite", "memory"], indirect=True)


@pytest.fixture(params=["sqlite", "memory", "dynamodb"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Build]:
    worlds: list[World] = []
    numbers = count()

    def make(limits: Limits | None = None) -> World:
        limits = limits or Limits()
        world: World
        if request.param == "sqlite":
            world = SqliteWorld(tmp_path / f"ledger-{next(numbers)}.db", limits)
        elif request.param == "dynamodb":
            world = DynamoWorld(limits)
        else:
            world = MemoryWorld(limits)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.ledger.close()


@pytest.fixture
def world(build: Build) -> World:
    return build()


@pytest.fixture
def ledger(world: World) -> Ledger:
    return world.ledger


def spec(name: str, kind: CallKind = CallKind.REMOTE, function: str = "fu-f") -> CallSpec:
    return CallSpec(f"fc-{name}", function, f"{function}@1", kind, NOW, durable=kind.durable)


def submit(
    ledger: Ledger, call: CallSpec = SPEC, number: int = 1, *, first: int = 0, sealed: bool = False
) -> Admission:
    payloads = [f"{call.call_id}[{first + i}]".encode() for i in range(number)]
    return ledger.submit(call, first, payloads, sealed=sealed, now=NOW)


def claim(ledger: Ledger, limit: int = 100, pool: str = POOL) -> list[Claim]:
    return ledger.claim(pool, limit, NOW)


def finish(ledger: Ledger, claims: Sequence[Claim], status: Status = Status.RETURNED) -> None:
    entries = [Entry(c.seq, c.fence, status, b"result of " + c.payload) for c in claims]
    assert ledger.record(entries) == [True] * len(claims)


def look_up(ledger: Ledger, call_id: str) -> CallRecord:
    record = ledger.call(call_id)
    assert record is not None
    return record


def names(claims: Sequence[Claim]) -> list[str]:
    return [f"{c.call_id.removeprefix('fc-')}{c.index}" for c in claims]
