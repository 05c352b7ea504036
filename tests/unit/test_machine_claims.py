"""Claims ahead of the agent: how many, what others hear of, and what becomes of them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cloudfn.clock import SystemClock
from cloudfn.errors import ConnectionError, DataLossError  # noqa: A004 - ours
from cloudfn.machine.claims import AheadAndBehind, Surroundings
from cloudfn.machine.lots import Wanted
from cloudfn.machine.outbox import Outbox
from cloudfn.machine.threads import Threads
from cloudfn.model import ids
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.model.terms import Terms
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.ledger import CallSpec, Claim, Entry
from cloudfn.testing.cloud import MemoryCloud
from cloudfn.wire.messages import BlobRef

PATIENCE = 20.0
POOL = "fu-f@1"
RING = Ring("fu-f", POOL, "p7")
BLOB = BlobRef("fc-x/in", 70_000, durable=False).encode()


class Machine:
    """As much of a machine as claims need, with room for `room` inputs."""

    def __init__(self, cloud: MemoryCloud) -> None:
        self.loop = asyncio.get_running_loop()
        self.cloud = cloud
        ports = cloud.open("i-1")
        self.ledger: Any = ports.ledger
        cloud.doorbells.open("fu-f")
        self.room, self.enough, self.running = 2, 0, 0
        self.starved, self.may_grow = False, True
        self.listened: list[frozenset[str]] = []
        self.overdue: list[Claim] = []
        self.released: list[Claim] = []
        self.unfetchable: list[Exception] = []
        self.threads = Threads(self.loop, 4, "test")
        self.outbox = Outbox(
            ports.ledger, ports.doorbells, lambda _: None, self.loop.call_soon_threadsafe
        )
        self.claims = AheadAndBehind(
            self.loop,
            ports.ledger,
            ports.doorbells,
            self.outbox,
            self.threads,
            SystemClock(),
            Surroundings(
                wanted=lambda _: (Wanted(self.room, self.enough or self.room), self.running),
                starved=lambda _: self.starved,
                may_grow=lambda _: self.may_grow,
                arrived=lambda _: None,
                overdue=self.overdue.extend,
                fetch=self._fetch,
                ended=self.outbox.record,
                released=self.released.append,
                listen=self.listened.append,
            ),
        )

    def _fetch(self, _claim: Claim) -> None:
        if self.unfetchable:
            raise self.unfetchable.pop()

    def submit(self, payloads: list[bytes], terms: Terms | None = None) -> str:
        kind = CallKind.SPAWN_MAP if terms else CallKind.MAP
        durable = terms is not None
        spec = CallSpec(ids.mint("fc"), "fu-f", POOL, kind, 0.0, durable=durable, terms=terms)
        self.ledger.submit(spec, 0, payloads, sealed=True, now=SystemClock().wall())
        self.ledger.rings()
        return spec.call_id

    def serve(self) -> None:
        self.claims.serve(POOL, "fu-f")
        self.claims.open(intake=True)

    def take(self, limit: int = 99) -> list[Claim]:
        claims = self.claims.claim(POOL, limit, SystemClock().wall())
        self.running += len(claims)
        return claims

    async def until(self, condition: Callable[[], Any]) -> Any:
        late = SystemClock().monotonic() + PATIENCE
        while not (found := condition()):
            assert SystemClock().monotonic() < late, "it did not happen in time"
            await asyncio.sleep(0.005)
        return found

    async def have(self, count: int) -> None:
        await self.until(lambda: self.claims.here(POOL) == count)

    def rung(self) -> list[Ring]:
        return [each.ring for each in self.cloud.doorbells.listen("fu-f", 0, 10)]

    def close(self) -> None:
        self.outbox.close()
        self.threads.close()


@pytest.fixture
def run(tmp_path: Path):
    """Run a story of one machine on a loop."""

    def run(story: Callable[[Machine], Awaitable[None]]) -> None:
        async def whole() -> None:
            machine = Machine(MemoryCloud(tmp_path))
            try:
                await story(machine)
            finally:
                machine.close()

        asyncio.run(whole())

    return run


def test_nothing_is_claimed_while_enough_is_here_and_then_as_much_as_there_is_room_for(run):
    async def story(machine):
        machine.room, machine.enough = 3, 2
        machine.submit([b"x"] * 9)
        machine.serve()
        await machine.have(3)
        machine.take(1)
        machine.running = 0  # it has ended; two are left
        machine.claims.poke()
        await asyncio.sleep(0)  # it looks
        assert machine.claims.here(POOL) == 2

        machine.take(1)
        machine.running = 0

        await machine.have(3)
        assert machine.ledger.asked["claim"] == 2

    run(story)


def test_what_waits_elsewhere_is_not_counted_where_no_container_may_be_started_for_it(run):
    async def story(machine):
        machine.may_grow = False
        machine.submit([b"x"] * 5)
        machine.serve()
        await machine.have(2)
        assert machine.claims.waiting(POOL) == 3  # two here, and at least one more
        machine.may_grow, machine.room = True, 4

        machine.claims.poke()

        await machine.until(lambda: machine.claims.waiting(POOL) == 5)
        assert machine.ledger.asked["counts"] == 1

    run(story)


def test_it_is_known_whose_inputs_are_here(run):
    async def story(machine):
        call_id = machine.submit([b"x"] * 2)
        machine.serve()
        await machine.have(2)
        assert machine.claims.holds_of(call_id)
        first, second = machine.take()

        for claim, left in ((first, True), (second, False)):
            machine.claims.record([Entry(claim.seq, claim.fence, Status.RETURNED, b"y")])
            assert machine.claims.holds_of(call_id) == left

    run(story)


def test_as_many_inputs_are_claimed_as_there_is_room_for_and_more_when_there_is_more(run):
    async def story(machine):
        machine.submit([b"x"] * 5)
        machine.serve()
        await machine.have(2)
        await machine.until(lambda: machine.claims.waiting(POOL) == 5)

        machine.take()
        machine.room = 4

        await machine.have(2)
        assert machine.ledger.counts(POOL).pending == 1

    run(story)


def test_a_ring_for_more_than_fits_is_rung_once_more_and_nobody_listens_meanwhile(run):
    async def story(machine):
        machine.submit([b"x"] * 5)
        machine.serve()
        machine.claims.heard([RING._replace(enclosed=b"old")])
        await machine.have(2)

        assert await machine.until(machine.rung) == [RING]
        assert machine.listened[-1] == frozenset()

    run(story)


def test_a_ring_whose_page_is_empty_is_gone_and_the_machine_listens(run):
    async def story(machine):
        machine.submit([b"x"])
        machine.serve()
        machine.claims.heard([RING])
        await machine.have(1)

        await machine.until(lambda: machine.listened and machine.listened[-1] == {"fu-f"})
        assert machine.rung() == []

    run(story)


def test_what_never_started_waits_here_again_with_its_arguments(run):
    async def story(machine):
        machine.submit([b"a", b"b"])
        machine.serve()
        await machine.have(2)
        first, second = machine.take()
        first.payload = second.payload = b""  # a container has it

        given = machine.claims.give_back([(first.seq, first.fence), (second.seq, 99)])

        assert given == [True, False]
        assert [claim.payload for claim in machine.take()] == [b"a"]
        assert machine.outbox.empty

    run(story)


def test_a_machine_that_leaves_gives_back_what_waits_and_what_comes_back(run):
    async def story(machine):
        machine.submit([b"x"] * 2)
        machine.serve()
        await machine.have(2)
        [taken] = machine.take(1)

        machine.claims.leave()
        machine.claims.give_back([(taken.seq, taken.fence)])

        await machine.until(lambda: machine.ledger.counts(POOL).pending == 2)
        assert machine.claims.holding == 0

    run(story)


def test_nothing_is_recorded_of_inputs_that_are_cancelled_or_belong_to_others(run):
    async def story(machine):
        machine.submit([b"x"] * 2)
        machine.serve()
        await machine.have(2)
        first, second = machine.take()

        machine.claims.surrender(first.seq, first.fence)
        entries = [Entry(c.seq, c.fence, Status.RETURNED, b"y") for c in (first, second)]
        assert machine.claims.record(entries[:1]) == [False]
        machine.claims.drop()
        assert machine.claims.record(entries[1:]) == [False]

    run(story)


def test_an_input_of_a_cancelled_call_ends_although_who_cancels_it_has_gone(run):
    async def story(machine):
        call = machine.submit([b"x"])
        machine.serve()
        await machine.have(1)
        [claim] = machine.take()

        machine.ledger.cancel(call)
        machine.claims.surrender(claim.seq, claim.fence)

        assert machine.outbox.flush(PATIENCE)
        assert machine.ledger.statuses(call) == [Status.CANCELLED]

    run(story)


def test_what_a_machine_claimed_after_it_was_given_up_is_not_held_for_ever(run):
    async def story(machine):
        call = machine.submit([b"x"] * 3)
        machine.serve()
        await machine.have(2)
        machine.take(1)

        machine.claims.drop()

        assert machine.outbox.flush(PATIENCE)
        assert machine.ledger.statuses(call) == [Status.PENDING] * 3
        assert machine.claims.holding == 0

    run(story)


def test_an_input_that_is_to_run_again_is_claimed_again_in_its_time(run):
    async def story(machine):
        machine.submit([b"x"])
        machine.serve()
        await machine.have(1)
        [claim] = machine.take()
        machine.running = 0

        again = SystemClock().wall() + 0.05
        assert machine.claims.retry(claim.seq, claim.fence, Counters(failures=1), again)

        await machine.have(1)
        [anew] = machine.take()
        assert anew.counters.failures == 1
        assert anew.fence > claim.fence

    run(story)


def test_an_input_whose_deadline_passed_while_it_waited_here_is_ended_and_not_run(run):
    async def story(machine):
        machine.submit([b"x"], Terms(deadline=SystemClock().wall() + 60))
        machine.serve()
        await machine.have(1)

        assert machine.claims.claim(POOL, 1, SystemClock().wall() + 61) == []

        await machine.until(lambda: machine.overdue)

    run(story)


def test_arguments_that_cannot_be_had_now_are_fetched_again(run):
    async def story(machine):
        machine.unfetchable.append(ConnectionError("no answer"))
        machine.submit([BLOB])
        machine.serve()

        await machine.until(lambda: machine.claims.counts(POOL).pending == 1)

    run(story)


def test_arguments_that_are_lost_end_their_input(run):
    async def story(machine):
        machine.unfetchable.append(DataLossError("There is no such payload."))
        call = machine.submit([BLOB])
        machine.serve()

        await machine.until(lambda: machine.ledger.statuses(call) == [Status.LOST])

    run(story)


def test_a_ledger_that_gives_no_answer_is_asked_again(run):
    async def story(machine):
        machine.submit([b"x"])
        machine.ledger.fail_next("claim", ConnectionError("no answer"))
        machine.serve()

        await machine.have(1)

    run(story)


@pytest.mark.parametrize("starved", [False, True])
def test_what_waits_here_in_vain_goes_back_to_where_others_can_have_it(run, starved):
    async def story(machine):
        machine.submit([b"x"] * 2)
        machine.serve()
        await machine.have(2)

        machine.starved, machine.room = starved, 2 if starved else 0
        machine.claims.trim()
        assert machine.claims.here(POOL) == 2  # it may be but for a moment
        machine.claims._lines[POOL].vain -= 100.0
        machine.claims.trim()

        await machine.until(lambda: machine.ledger.counts(POOL).pending == 2)
        assert machine.claims.waiting(POOL) >= 1  # it goes on trying

    run(story)
