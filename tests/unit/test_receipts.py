"""What is acknowledged: no more than what a sync, or a commit, made true."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cloudfn.daemon.journal import Journal
from cloudfn.daemon.receipts import Receipts
from cloudfn.daemon.session import Session
from cloudfn.daemon.watches import Call, Watch
from cloudfn.model.call import CallKind
from cloudfn.providers.ledger import CallSpec
from cloudfn.wire.messages import Ack, Kind


@dataclass
class FakeJournal:
    """Commits and syncs when the test says so."""

    committed: list[Callable[[], object]] = field(default_factory=list)
    synced: list[Callable[[], object]] = field(default_factory=list)

    def after_commit(self, hook: Callable[[], object]) -> None:
        self.committed.append(hook)

    def after_sync(self, hook: Callable[[], object]) -> None:
        self.synced.append(hook)


@dataclass(eq=False)
class FakeSession:
    told: list[int] = field(default_factory=list)
    refusals: int = 0

    def send(self, kind: Kind, body: bytes) -> None:
        assert kind == Kind.ACK
        ack = Ack.decode(body)
        self.told.append(ack.known)
        self.refusals += ack.refused


@dataclass
class World:
    journal: FakeJournal = field(default_factory=FakeJournal)
    client: FakeSession = field(default_factory=FakeSession)

    def __post_init__(self) -> None:
        self.receipts = Receipts(cast("Journal", self.journal))

    def watch(self, kind: CallKind) -> Watch:
        spec = CallSpec("fc-1", "fu-1", "fu-1@1", kind, 0.0, durable=kind.durable)
        watch = Watch(cast("Session", self.client), 7, Call(spec), owner=True)
        watch.call.watches.append(watch)
        return watch

    def admit(self, watch: Watch, known: int) -> None:
        watch.call.known = known
        self.receipts.acknowledge(watch)


@pytest.fixture
def world() -> World:
    return World()


def run(hooks: list[Any]) -> None:
    hooks.pop(0)()


def test_what_is_admitted_while_the_disk_syncs_is_not_acknowledged_with_what_was_before(world):
    watch = world.watch(CallKind.SPAWN_MAP)
    world.admit(watch, 2)
    world.admit(watch, 5)

    run(world.journal.synced)
    assert world.client.told == [2]
    run(world.journal.synced)
    assert world.client.told == [2, 5]


def test_the_messages_of_one_commit_have_one_acknowledgement(world):
    watch = world.watch(CallKind.MAP)
    world.admit(watch, 2)
    world.admit(watch, 5)

    run(world.journal.committed)
    assert world.client.told == [5]
    assert not world.journal.committed


@pytest.mark.parametrize("kind", [CallKind.MAP, CallKind.SPAWN_MAP])
def test_who_wants_to_hear_nothing_more_hears_nothing(world, kind):
    watch = world.watch(kind)
    world.admit(watch, 2)
    world.receipts.forget(watch)

    run(world.journal.committed or world.journal.synced)
    assert world.client.told == []


def test_a_refusal_names_what_is_kept_no_sooner_than_it_is(world):
    watch = world.watch(CallKind.SPAWN_MAP)
    watch.call.known = 2
    world.receipts.refuse(watch)
    watch.call.known = 5

    assert not world.journal.committed
    run(world.journal.synced)
    assert world.client.told == [2]
    assert world.client.refusals == 1


def test_that_there_is_room_again_acknowledges_nothing_more(world):
    watch = world.watch(CallKind.SPAWN_MAP)
    watch.call.known = 2
    world.receipts.refuse(watch)
    run(world.journal.synced)
    watch.call.known = 5

    world.receipts.places_freed()
    run(world.journal.committed)
    assert world.client.told == [2, 2]
    assert world.client.refusals == 1
