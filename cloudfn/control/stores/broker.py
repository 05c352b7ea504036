"""Hands elements of queues to those who wait for them, and room to those who wait for that.

It neither asks the time nor sleeps: whoever holds it tells it when time has passed.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from itertools import count

from cloudfn.control.operations import Fields
from cloudfn.control.stores.later import Later
from cloudfn.control.stores.payloads import ANSWER_SIZE
from cloudfn.providers.queues import Queues
from cloudfn.wire.texts import to_text, to_texts

Attempt = Callable[[float], Fields | None]


@dataclass(slots=True, eq=False)
class _Waiter:
    """One request that may have to wait."""

    request: str
    owner: Hashable
    #: wall time when it gives up; None: never
    until: float | None
    attempt: Attempt
    #: the answer of one that gave up
    in_vain: Fields
    later: Later = field(default_factory=Later)


@dataclass(slots=True)
class _Lines:
    """Who waits at one partition, each line in the order of arrival."""

    putters: deque[_Waiter] = field(default_factory=deque)
    takers: deque[_Waiter] = field(default_factory=deque)
    peekers: deque[_Waiter] = field(default_factory=deque)

    def all(self) -> list[_Waiter]:
        return [*self.putters, *self.takers, *self.peekers]

    def remove(self, waiter: _Waiter) -> None:
        for line in (self.putters, self.takers, self.peekers):
            if waiter in line:
                line.remove(waiter)


class Broker:
    """Queues with waiting. Single-threaded.

    What a client took is its own once it has said so (`settle`). Until then the request belongs to
    the connection that it came by: when that ends, the elements go back to the front. After a
    restart nobody knows the connections, and clients have `grace` seconds to come back.

    Args:
        queues: Where elements lie.
        grace: Seconds.
    """

    def __init__(self, queues: Queues, grace: float) -> None:
        self._queues = queues
        self._grace = grace
        self._lines: defaultdict[tuple[str, str], _Lines] = defaultdict(_Lines)
        #: requests that took elements → who has to settle, and the partition
        self._held: dict[str, tuple[Hashable, tuple[str, str]]] = {}
        #: unsettled requests of an earlier daemon, and until when they are kept
        self._orphans: dict[str, float] = {}

    def recover(self, now: float) -> None:
        """After a start: give the clients of unsettled requests time to come back."""
        for request in self._queues.expire(now, self._grace).unsettled:
            self._orphans[request] = now + self._grace

    # Requests

    def put(
        self,
        owner: Hashable,
        key: tuple[str, str],
        items: list[bytes],
        *,
        request: str,
        ttl: float,
        until: float | None,
        now: float,
    ) -> Later:
        """Append elements; the answer says whether they were."""

        def attempt(now: float) -> Fields | None:
            done = self._queues.put(*key, items, request=request, ttl=ttl, now=now)
            return {"put": True} if done else None

        waiter = _Waiter(request, owner, until, attempt, {"put": False})
        return self._come(key, self._lines[key].putters, waiter, now)

    def take(
        self,
        owner: Hashable,
        key: tuple[str, str],
        limit: int,
        *,
        request: str,
        until: float | None,
        now: float,
    ) -> Later:
        """Take elements; the answer has none when there were none in time."""

        def attempt(now: float) -> Fields | None:
            items = self._queues.take(*key, limit, ANSWER_SIZE, request=request, now=now)
            if not items:
                return None
            self._held[request] = owner, key
            self._orphans.pop(request, None)
            return {"items": to_texts(items)}

        waiter = _Waiter(request, owner, until, attempt, {"items": []})
        return self._come(key, self._lines[key].takers, waiter, now)

    def peek(
        self,
        owner: Hashable,
        key: tuple[str, str],
        after: int,
        limit: int,
        *,
        request: str,
        until: float | None,
        now: float,
    ) -> Later:
        """Look at elements beyond a position; the answer has none when there were none in time."""

        def attempt(now: float) -> Fields | None:
            found = self._queues.peek(*key, after, limit, ANSWER_SIZE, now)
            told = [[position, to_text(item)] for position, item in found]
            return {"items": told} if told else None

        waiter = _Waiter(request, owner, until, attempt, {"items": []})
        return self._come(key, self._lines[key].peekers, waiter, now)

    def settle(self, requests: list[str], *, keep: bool, now: float) -> list[bool]:
        """End requests: their clients have what they took, or do not wait for it any more."""
        given_up = [] if keep else [w for w in self._waiters() if w.request in requests]
        for waiter in given_up:
            self._leave(waiter)
        settled = self._queues.settle(requests, keep=keep, now=now)
        for request in requests:
            self._orphans.pop(request, None)
            _, key = self._held.pop(request, (None, None))
            if key is not None:
                self._serve(key, now)
        return settled

    def clear(self, queue_id: str, partition: str | None, *, request: str, now: float) -> None:
        """Remove all elements of a partition, or of all partitions."""
        for part in emptied(self._queues, queue_id, partition, request=request, now=now):
            self._serve((queue_id, part), now)

    # What happens around

    def closed(self, owner: Hashable, now: float) -> None:
        """A connection is gone, and nobody waits there any more."""
        for waiter in self._waiters():
            if waiter.owner is owner:
                self._leave(waiter)
                waiter.later.give(waiter.in_vain)
        held = [request for request, (whose, _) in self._held.items() if whose is owner]
        if held:
            self.settle(held, keep=False, now=now)

    def pass_time(self, now: float) -> None:
        """Time has passed: some waited in vain, and some clients do not come back."""
        for waiter in self._waiters():
            if waiter.until is not None and waiter.until <= now:
                self._leave(waiter)
                # A put that was sent again stood in line although it had been done before.
                waiter.later.give(waiter.attempt(now) or waiter.in_vain)
        late = [request for request, until in self._orphans.items() if until <= now]
        if late:
            self.settle(late, keep=False, now=now)
            for key in list(self._lines):
                self._serve(key, now)

    def next_moment(self) -> float | None:
        """Return the wall time at which `pass_time` should be called; None when never."""
        moments = [w.until for w in self._waiters() if w.until is not None]
        return min([*moments, *self._orphans.values()], default=None)

    # How

    def _come(
        self, key: tuple[str, str], line: deque[_Waiter], waiter: _Waiter, now: float
    ) -> Later:
        """Serve a request at once where nobody is before it; else let it wait for its turn."""
        due = waiter.until is not None and waiter.until <= now
        fields = waiter.attempt(now) if due or not line else None
        if fields is not None:
            waiter.later.give(fields)
            self._serve(key, now)
        elif due:
            waiter.later.give(waiter.in_vain)
            self._tidy(key)
        else:
            line.append(waiter)
        return waiter.later

    def _serve(self, key: tuple[str, str], now: float) -> None:
        """Serve who waits at a partition as long as that helps anybody."""
        lines = self._lines[key]
        served = True
        while served:
            served = _serve_front(lines.takers, now) | _serve_front(lines.putters, now)
        for waiter in list(lines.peekers):
            fields = waiter.attempt(now)
            if fields is not None:
                lines.peekers.remove(waiter)
                waiter.later.give(fields)
        self._tidy(key)

    def _waiters(self) -> list[_Waiter]:
        return [waiter for lines in self._lines.values() for waiter in lines.all()]

    def _leave(self, waiter: _Waiter) -> None:
        for key, lines in list(self._lines.items()):
            lines.remove(waiter)
            self._tidy(key)

    def _tidy(self, key: tuple[str, str]) -> None:
        if not self._lines[key].all():
            del self._lines[key]


def _serve_front(line: deque[_Waiter], now: float) -> bool:
    """Serve a line from its front; whether anybody was served."""
    served = False
    while line:
        fields = line[0].attempt(now)
        if fields is None:
            break
        line.popleft().later.give(fields)
        served = True
    return served


def emptied(
    queues: Queues, queue_id: str, partition: str | None, *, request: str, now: float
) -> list[str]:
    """Remove all elements of a partition, or of all; return the partitions."""
    partitions = list(queues.counts(queue_id, now)) if partition is None else [partition]
    for part in partitions:
        for number in count():
            name = f"{request}-{part}-{number}"
            if not queues.take(queue_id, part, 10**9, ANSWER_SIZE, request=name, now=now):
                break
            queues.settle([name], keep=True, now=now)
    return partitions
