"""Looks at containers now and then: takes back what waits, ends what is over its time or memory."""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Mapping, Sequence
from typing import Protocol

from cloudfn.agent.container import Container
from cloudfn.agent.dispatch import PATIENCE
from cloudfn.agent.memory import MemoryGuard
from cloudfn.agent.pool import Pool
from cloudfn.clock import Clock
from cloudfn.model.call import Overran, TimedOut
from cloudfn.providers.ledger import Claim

#: seconds between looks while inputs run
_PAUSE = 0.1
#: while inputs wait behind others
_SHORT_PAUSE = 0.01


class Watched(Protocol):
    """Who is told what was seen."""

    def kick(self, name: str) -> None:
        """Inputs of a pool wait again."""
        ...

    def give_back_unread(self, container: Container) -> bool:
        """Take back what a container has not read; return whether there was something."""
        ...

    def start_overdue(self, container: Container, limit: int) -> None:
        """A container was not ready within its startup_timeout."""
        ...

    def run_overdue(
        self, container: Container, overdue: Sequence[Claim], ending: TimedOut | Overran
    ) -> None:
        """Inputs of a container, which it does not hold any more, are over their time."""
        ...


class Watch:
    """Looks while there is something to look at.

    Args:
        loop: Rings.
        clock: The time.
        pools: All pools, by name.
        containers: All containers, by id.
        memory: Knows who has too much.
        watched: Is told.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        clock: Clock,
        pools: Mapping[str, Pool],
        containers: Mapping[str, Container],
        memory: MemoryGuard,
        watched: Watched,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._pools = pools
        self._containers = containers
        self._memory = memory
        self._watched = watched
        self._timer: TimerHandle | None = None
        self._closed = False

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def arm(self) -> None:
        """Look soon where inputs wait behind others, else now and then."""
        if self._closed:
            return
        now = self._clock.monotonic()
        eager = any(c.held.crowded(now) is not None for c in self._containers.values())
        due = self._loop.time() + (_SHORT_PAUSE if eager else _PAUSE)
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        active = False
        for container in list(self._containers.values()):
            pool = self._pools.get(container.pool)
            if pool is None:
                continue
            if not container.ready:
                active = True
                limit = pool.spec.function.startup_timeout
                if now - container.started > limit:
                    self._watched.start_overdue(container, limit)
            elif container.held:
                active = True
                self._check_running(pool, container, now)
            elif container.visits:
                active = True
                if self._memory.exceeded(container.container_id):
                    container.kill()
        if active:
            self.arm()

    def _check_running(self, pool: Pool, container: Container, now: float) -> None:
        age = container.held.crowded(now)
        if age is not None and age > PATIENCE:
            pool.service = pool.service.at_least(age)
            if self._watched.give_back_unread(container):
                self._watched.kick(pool.spec.pool)
        timeout = pool.spec.function.timeout
        overdue = container.held.take_overdue(timeout, now)
        if overdue:
            self._watched.run_overdue(container, overdue, TimedOut(timeout))
        elif late := self._take_late(container):
            self._watched.run_overdue(container, late, Overran())
        elif self._memory.exceeded(container.container_id):
            container.kill()

    def _take_late(self, container: Container) -> list[Claim]:
        """Remove and return claims that run beyond the deadline of their call."""
        now = self._clock.wall()
        if not any(_is_late(claim, now) for claim in container.held):
            return []
        self._watched.give_back_unread(container)
        late = [claim for claim in container.held if _is_late(claim, now)]
        return [claim for claim in late if container.held.finish(claim.seq, claim.fence)]


def _is_late(claim: Claim, now: float) -> bool:
    """Whether the deadline of a claim's call has passed; `now` is wall time."""
    return claim.deadline is not None and claim.deadline <= now
