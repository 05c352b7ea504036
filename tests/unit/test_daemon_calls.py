"""When outcomes are told: a `remote` may be its own receipt, everything else waits for the disk."""

from asyncio import AbstractEventLoop
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cloudfn import errors
from cloudfn.daemon.calls import Calls
from cloudfn.daemon.journal import Journal
from cloudfn.daemon.ports import Engine
from cloudfn.daemon.session import Session
from cloudfn.model.call import CallKind, Status
from cloudfn.providers.ledger import Entry
from cloudfn.testing import FakeClock
from cloudfn.testing.memory_ledger import MemoryLedger
from cloudfn.wire.messages import Delivered, Kind, Outcomes, Submit
from tests.unit.fake_loop import Loop

POOL = "fu-1@1"


class FakeEngine:
    """The rest of the daemon, with nothing in it."""

    def __init__(self) -> None:
        self.discarded: list[str] = []

    def discard_blobs_of(self, call_id: str) -> None:
        self.discarded.append(call_id)

    def pool_for(self, _function_id: str) -> str:
        return POOL

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args, **_how: None


@dataclass(eq=False)
class FakeSession:
    container_id: str | None = None
    view: None = None
    congested: bool = False
    told: list[Outcomes] = field(default_factory=list)

    def show(self, payloads: Sequence[bytes]) -> None:
        """It sees all of them."""

    def send(self, kind: Kind, body: bytes) -> None:
        if kind == Kind.OUTCOMES:
            self.told.append(Outcomes.decode(body))

    def send_json(self, kind: Kind, value: dict[str, Any]) -> None:
        """Take a refusal."""

    def flush(self) -> None:
        """Nothing is queued here."""


@dataclass
class World:
    loop: Loop = field(default_factory=Loop)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    client: FakeSession = field(default_factory=FakeSession)

    def __post_init__(self) -> None:
        loop = cast("AbstractEventLoop", self.loop)
        self.journal = Journal(loop, self.ledger)
        self.engine = FakeEngine()
        engine = cast("Engine", self.engine)
        self.calls = Calls(loop, self.journal, self.ledger, engine, FakeClock())

    def submit(self, kind: CallKind) -> None:
        header = {"call": "fc-1", "function": "fu-1", "kind": int(kind), "parent": None}
        message = Submit(7, 0, [b"in"], header, sealed=True)
        self.calls.submit(cast("Session", self.client), message)

    def finish(self) -> None:
        (claim,) = self.journal.claim(POOL, 1, 0.0)
        self.journal.record([Entry(claim.seq, claim.fence, Status.RETURNED, b"out")])
        self.calls.recorded("fc-1", [0], [Status.RETURNED], [b"out"])

    def come_back(self) -> int:
        """Let the client connect anew; return how many of its inputs it need not send again."""
        self.calls.closed(cast("Session", self.client))
        told = self.calls.resume(cast("Session", FakeSession()), 8, "fc-1", [], [])
        return int(told["known"])

    @property
    def was_told(self) -> bool:
        return self.client.told == [Outcomes(7, (0,), bytes([Status.RETURNED]), [b"out"])]


@pytest.fixture
def world() -> World:
    return World()


def test_a_remote_that_the_disk_does_not_know_is_told_at_once(world):
    world.submit(CallKind.REMOTE)
    world.finish()

    assert world.was_told
    assert world.journal.commits == 0


def test_its_input_comes_anew_when_the_daemon_dies_then(world):
    world.submit(CallKind.REMOTE)
    world.finish()
    world.ledger.crash()

    assert world.ledger.call("fc-1") is None


def test_a_remote_that_is_on_disk_is_told_after_its_outcome_is(world):
    world.submit(CallKind.REMOTE)
    world.loop.wait()
    assert world.journal.commits == 1
    world.finish()
    assert not world.was_told
    world.loop.turn()

    assert world.was_told
    assert world.journal.commits == 2


@pytest.mark.parametrize("kind", [CallKind.MAP, CallKind.SPAWN])
def test_what_is_acknowledged_is_told_after_the_commit(world, kind):
    world.submit(kind)
    world.finish()
    assert not world.was_told
    world.loop.turn()

    assert world.was_told


def test_a_spawned_outcome_is_on_disk_after_its_turn_though_nobody_waits_for_it(world):
    world.submit(CallKind.SPAWN)
    world.loop.turn()
    world.calls.closed(cast("Session", world.client))
    commits = world.journal.commits
    world.finish()
    world.loop.turn()

    assert world.journal.commits == commits + 1


def test_a_remote_that_somebody_else_asks_for_is_told_after_the_commit(world):
    world.submit(CallKind.REMOTE)
    world.calls.attach(cast("Session", FakeSession()), 8, "fc-1", 0, None)
    world.finish()
    assert not world.was_told
    world.loop.turn()

    assert world.was_told


def test_nothing_is_left_of_a_remote_that_was_delivered_before_the_commit(world):
    world.submit(CallKind.REMOTE)
    world.finish()
    world.calls.delivered(cast("Session", world.client), Delivered(7, [0]))
    world.loop.wait()

    assert world.ledger.call("fc-1") is None
    assert world.calls.active == 0


def test_a_call_that_is_refused_leaves_no_payloads_behind(world):
    world.journal.trouble = errors.ResourceExhaustedError("The disk is full.")
    world.submit(CallKind.SPAWN)

    assert world.engine.discarded == ["fc-1"]


def test_a_call_of_which_something_is_kept_keeps_its_payloads(world):
    world.submit(CallKind.SPAWN_MAP)
    world.loop.wait()
    world.journal.trouble = errors.ResourceExhaustedError("The disk is full.")
    world.submit(CallKind.SPAWN_MAP)

    assert world.engine.discarded == []


@pytest.mark.parametrize("kind", [CallKind.MAP, CallKind.SPAWN_MAP])
def test_a_client_that_is_back_is_told_of_no_input_that_may_still_be_lost(world, kind):
    world.submit(kind)
    assert world.come_back() == 0


def test_a_client_that_is_back_is_told_of_what_it_was_told_before(world):
    world.submit(CallKind.MAP)
    world.loop.wait()
    assert world.come_back() == 1
