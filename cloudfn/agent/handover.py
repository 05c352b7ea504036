"""Hands waiting inputs to containers: which inputs to which container, how many, and when.

A pool with one slot to a container gets its inputs in adaptive lots (`dispatch.py`). One with
several fills the most recently busy container up to its target, then the next one, and goes beyond
the target only when all have that many. Inputs of a batched function wait in the ledger until there
are enough of them, or the first has waited long enough.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable

from cloudfn.agent import slices
from cloudfn.agent.attempts import Attempts
from cloudfn.agent.container import Container
from cloudfn.agent.dispatch import MAX_BATCH, NEXT_ONLY, batch_size, worth_refilling
from cloudfn.agent.pool import Pool
from cloudfn.agent.ports import Claims
from cloudfn.clock import Clock
from cloudfn.model.function import FunctionSpec
from cloudfn.providers.ledger import Claim


class Handover:
    """Hands inputs over.

    Args:
        loop: Rings when a batch has waited long enough.
        ledger: Where inputs wait.
        attempts: Takes back what could not be handed over.
        clock: The time.
        handed: Called when a container got something: it is to be watched.
        one_at_a_time: Make no lots, however tiny inputs are: only the next one is there early.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        ledger: Claims,
        attempts: Attempts,
        clock: Clock,
        handed: Callable[[], None],
        *,
        one_at_a_time: bool,
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._attempts = attempts
        self._clock = clock
        self._handed = handed
        self._largest = NEXT_ONLY if one_at_a_time else MAX_BATCH
        self._slices = slices.Slices()
        self._slices.set(0, slices.SHORT)
        #: pool → rings when its open batch has waited long enough
        self._bells: dict[str, TimerHandle] = {}

    def close(self) -> None:
        """Hand nothing over any more."""
        for bell in self._bells.values():
            bell.cancel()
        self._bells.clear()

    def kick(self, pool: Pool) -> None:
        """Hand waiting inputs of a pool to its containers."""
        if pool.spec.function.slots > 1:
            self._fill_slots(pool)
            return
        batch = 1 if pool.spec.function.single_use else batch_size(pool.service, self._largest)
        for container in pool.serving():
            if self._may_refill(container, batch) and not self._fill(pool, container, batch):
                return

    def refill(self, pool: Pool, container: Container) -> None:
        """A container's inputs ended: hand it the next ones."""
        if pool.spec.function.slots > 1:
            self._fill_slots(pool)
            return
        batch = batch_size(pool.service, self._largest)
        if self._may_refill(container, batch):
            self._fill(pool, container, batch)

    # One at a time

    def _may_refill(self, container: Container, batch: int) -> bool:
        return not (container.exclusive or container.visits) and worth_refilling(
            len(container.held), batch
        )

    def _fill(self, pool: Pool, container: Container, batch: int) -> bool:
        """Fill one container; return whether more inputs wait."""
        room = batch - len(container.held)
        if room <= 0:
            return True
        waiting = self._ledger.counts(pool.spec.pool).pending
        crowded = waiting > room
        self._slice(container, slices.LONG if crowded else slices.SHORT)
        if not waiting:
            return False
        claims = self._ledger.claim(pool.spec.pool, room, self._clock.wall())
        if not claims:
            return False
        if claims[0].alone and container.held:
            self._attempts.give_back(claims)
            return True
        container.exclusive = claims[0].alone
        return not self._give(pool, container, claims) or crowded

    def _slice(self, container: Container, seconds: float) -> None:
        if container.slice != seconds:
            container.slice = seconds
            self._slices.set(container.pid, seconds)

    def _give(self, pool: Pool, container: Container, claims: list[Claim]) -> bool:
        """Hand claims over; return whether all of them went."""
        now = self._clock.monotonic()
        if pool.spec.function.batching is None:
            rest = container.give(claims, now)
        else:
            rest = container.give_batch(claims, now)
        pool.last_active = now
        if pool.spec.function.single_use:
            container.finish_intake()
        if rest:
            self._attempts.give_back(rest)
        self._handed()
        return not rest

    # Several at once

    def _fill_slots(self, pool: Pool) -> None:
        batched = pool.spec.function.batching is not None
        while (pending := self._ledger.counts(pool.spec.pool).pending) > 0:
            reserved, container = pool.reserved, _next(pool)
            if batched and not self._batch_is_due(pool, pending):
                return
            if container is None:
                return
            if not self._fill_some(pool, container) and pool.reserved == reserved:
                return
        pool.reserved, pool.alone_waits, pool.hurry = "", False, False
        self._open_no_batch(pool)

    def _fill_some(self, pool: Pool, container: Container) -> bool:
        """Hand over a batch, or what fits up to the target; return whether to go on."""
        claims = self._claim(pool, container)
        if claims and claims[0].alone:
            claims = self._for_empty(pool, claims)
            container = _empty(pool) or container
        if not claims:
            return False
        container.exclusive = claims[0].alone
        self._open_no_batch(pool)
        if self._give(pool, container, claims):
            return True
        container.tell_room()
        return False

    def _claim(self, pool: Pool, container: Container) -> list[Claim]:
        """Claim as many inputs as a container takes now."""
        function = pool.spec.function
        size = function.batch_size
        if size == 1:
            aim = function.target_slots if container.taken < function.target_slots else 0
            size = min(aim or container.slots, container.slots) - container.taken
        claims = self._ledger.claim(pool.spec.pool, size, self._clock.wall())
        if pool.reserved != container.container_id or not claims or claims[0].alone:
            return claims
        # It was kept free, and the ledger takes turns between what must run alone and the others.
        self._attempts.give_back(claims)
        pool.reserved = ""
        return self._ledger.claim(pool.spec.pool, size, self._clock.wall())

    def _for_empty(self, pool: Pool, claims: list[Claim]) -> list[Claim]:
        """Return the claim that must run alone if there is an empty container, else what may not.

        Then one container gets nothing more, until it is empty.
        """
        if _empty(pool) is not None:
            pool.reserved, pool.alone_waits = "", False
            return claims
        self._attempts.give_back(claims)
        pool.alone_waits = True
        if pool.reserved not in pool.containers:
            pool.reserved = pool.with_free_slots()[0].container_id
            return []
        others = self._ledger.claim(pool.spec.pool, len(claims), self._clock.wall())
        if others and others[0].alone:
            self._attempts.give_back(others)
            return []
        return others

    # Batches

    def _batch_is_due(self, pool: Pool, pending: int) -> bool:
        """Whether the waiting inputs are to be handed over; if not, a bell is set."""
        batching = pool.spec.function.batching
        assert batching is not None
        now = self._loop.time()
        if pool.batch_due is None:
            pool.batch_due = now + batching.wait_ms / 1000
        if pool.hurry or pending >= batching.max_batch_size or now >= pool.batch_due:
            return True
        if pool.spec.pool not in self._bells:
            bell = self._loop.call_at(pool.batch_due, self._ring, pool)
            self._bells[pool.spec.pool] = bell
        return False

    def _ring(self, pool: Pool) -> None:
        del self._bells[pool.spec.pool]
        # The loop's clock may be a tick behind the time that it was told.
        pool.batch_due = self._loop.time()
        self.kick(pool)

    def _open_no_batch(self, pool: Pool) -> None:
        """The open batch was handed over, or its inputs are gone."""
        pool.batch_due = None
        bell = self._bells.pop(pool.spec.pool, None)
        if bell is not None:
            bell.cancel()


def _next(pool: Pool) -> Container | None:
    """Return the container that gets the next inputs: the most recently busy one with room."""
    function: FunctionSpec = pool.spec.function
    size = function.batch_size
    spare = [c for c in pool.with_free_slots() if c.slots - c.taken >= size]
    below = (c for c in spare if c.taken < function.target_slots)
    return next(below, spare[0] if spare else None)


def _empty(pool: Pool) -> Container | None:
    return next((c for c in pool.with_free_slots() if not c.busy), None)
