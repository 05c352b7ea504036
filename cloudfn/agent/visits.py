"""Visits: requests that containers answer, and the queues of those that wait for a free slot.

A visit is no input: nothing is recorded, and nothing runs again. Whoever has one talks to user code
over a socket of its own; its end is what the container closes.
"""

from __future__ import annotations

import contextlib
import socket
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

from cloudfn.agent.container import Container
from cloudfn.agent.pool import Pool
from cloudfn.clock import Clock
from cloudfn.errors import Error, NotFoundError, ResourceExhaustedError
from cloudfn.model.call import ContainerLost

#: seconds that user code has to end a visit that is over its time
END_GRACE = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """One request in the hands of a container."""

    number: int
    container: Container
    #: the near end: ASGI events in frames
    socket: socket.socket
    #: monotonic seconds
    began: float


class Visits:
    """Hands requests to the containers of one machine. Single-threaded, on the agent's loop.

    Args:
        loop: The agent's loop.
        clock: The time.
        pools: The agent's pools, by name.
        limit: The most requests of one pool that may wait.
        changed: Called when the planner should look.
        watch: Called when a container has something to do that should be watched.
        kick: Has a pool's waiting inputs and requests handed over.
        stop: Lets a container go: after what it does, or at once with a reason.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        clock: Clock,
        pools: Mapping[str, Pool],
        limit: int,
        changed: Callable[[], None],
        watch: Callable[[], None],
        kick: Callable[[str], None],
        stop: Callable[[Container, ContainerLost | None], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._pools = pools
        self._limit = limit
        self._changed = changed
        self._watch = watch
        self._kick = kick
        self._stop = stop
        self._numbers = count(1)

    def ask(self, name: str) -> Future[Visit]:
        """Return the future visit of a request to a pool; cancelling it gives the place up.

        Raises:
            NotFoundError: There is no such pool.
            ResourceExhaustedError: Too many wait already.
        """
        pool = self._pools.get(name)
        if pool is None:
            raise _gone()
        if len(pool.visitors) >= self._limit:
            raise ResourceExhaustedError(
                f"{len(pool.visitors)} requests of {pool.spec.function.name} wait already.",
                hint="Try again later, or raise CLOUDFN_LIMIT_WEB_PENDING.",
            )
        visitor: Future[Visit] = self._loop.create_future()
        pool.visitors.append(visitor)
        visitor.add_done_callback(lambda done: self._gave_up(pool, done))
        self.admit(pool)
        if pool.visitors:
            self._changed()
        return visitor

    def admit(self, pool: Pool) -> None:
        """Hand waiting requests to containers with a free slot, the most recently busy one first.

        Up to `max_inputs` come to a container only while all have their `target_inputs`.
        """
        while pool.visitors and (container := _next(pool)) is not None:
            if not self._hand_over(pool, container):
                return

    def end(self, visit: Visit) -> None:
        """The container has closed its end, or nobody waits for that any more."""
        container = visit.container
        if container.visits.pop(visit.number, None) is None:
            return
        pool = self._pools.get(container.pool)
        now = self._clock.monotonic()
        container.last_used = now
        container.inputs_done += 1
        if pool is not None:
            pool.last_active = now
            pool.done += 1
            pool.service = pool.service.after(now - visit.began, 1)
            self._kick(container.pool)
        if container.draining and not container.busy:
            self._stop(container, None)
        if not container.busy:
            self._changed()

    def expire(self, visit: Visit) -> None:
        """A visit is over its time: have user code see that; end the container if it does not."""
        visit.container.end_visit(visit.number)
        self._loop.call_later(END_GRACE, self._end_stubborn, visit)

    def _end_stubborn(self, visit: Visit) -> None:
        container = visit.container
        if visit.number in container.visits and not container.gone:
            self._stop(container, ContainerLost("a request did not react to its timeout"))

    def lose(self, container: Container) -> int:
        """A container is gone: whoever reads from it reads its end, whatever it left behind.

        Returns:
            How many requests it had.
        """
        lost = len(container.visits)
        for visit in list(container.visits.values()):
            with contextlib.suppress(OSError):
                visit.socket.shutdown(socket.SHUT_RDWR)
        container.visits.clear()
        return lost

    def fail(self, pool: Pool, error: Error) -> None:
        """No container can take the waiting requests: tell them why."""
        while pool.visitors:
            visitor = pool.visitors.popleft()
            if not visitor.done():
                visitor.set_exception(error)

    def redirect(self, old: Pool, name: str | None) -> None:
        """Have the waiting requests of a pool wait in another one."""
        new = self._pools.get(name) if name is not None else None
        if new is None:
            self.fail(old, _gone())
            return
        moved = [visitor for visitor in old.visitors if not visitor.done()]
        old.visitors.clear()
        for visitor in moved:
            new.visitors.append(visitor)
            visitor.add_done_callback(lambda done: self._gave_up(new, done))
        self.admit(new)

    def _hand_over(self, pool: Pool, container: Container) -> bool:
        """Give a container the first waiting request; return whether it took it."""
        number = next(self._numbers)
        near, far = socket.socketpair()
        with far:
            if not container.give_visit(number, far):
                near.close()
                return False
        visitor = pool.visitors.popleft()
        now = self._clock.monotonic()
        visit = Visit(number, container, near, now)
        container.visits[number] = visit
        pool.last_active = now
        if pool.spec.function.single_use:
            container.finish_intake()
        visitor.set_result(visit)
        self._watch()
        return True

    def _gave_up(self, pool: Pool, visitor: Future[Visit]) -> None:
        if visitor.cancelled():
            with contextlib.suppress(ValueError):
                pool.visitors.remove(visitor)


def _next(pool: Pool) -> Container | None:
    """Return the container that gets the next request: the most recently busy one with room."""
    free = pool.with_free_slots()
    below = (c for c in free if c.taken < pool.spec.function.target_slots)
    return next(below, free[0] if free else None)


def _gone() -> NotFoundError:
    return NotFoundError(
        "The function is gone.",
        hint="Its app was stopped, or deployed without it; see `cloudfn app list`.",
    )
