"""What programs share on a cloud: the same desks as in a daemon, asking again where one waits."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock

from cloudfn.clock import Clock
from cloudfn.control.operations import Fields
from cloudfn.control.stores.broker import emptied
from cloudfn.control.stores.later import Later
from cloudfn.control.stores.payloads import ANSWER_SIZE
from cloudfn.control.stores.stores import Stores
from cloudfn.providers.base import Cloud
from cloudfn.providers.depot import Depot
from cloudfn.providers.queues import Queues
from cloudfn.settings import Settings
from cloudfn.wire.messages import BlobRef
from cloudfn.wire.texts import to_text, to_texts

#: seconds between two tries of a request that waits: at first, and at most
_PAUSE = (0.05, 1.0)


class AskingBroker:
    """Has requests of queues wait by trying again and again; its methods block meanwhile.

    Args:
        queues: Where elements lie.
        clock: The time.
    """

    def __init__(self, queues: Queues, clock: Clock) -> None:
        self._queues = queues
        self._clock = clock
        self._lock = Lock()
        #: requests that are tried here → whether their client still waits
        self._waiting: dict[str, bool] = {}

    def put(
        self,
        owner: Hashable,  # noqa: ARG002 - the port's
        key: tuple[str, str],
        items: list[bytes],
        *,
        request: str,
        ttl: float,
        until: float | None,
        now: float,  # noqa: ARG002 - the port's
    ) -> Later:
        """Append elements; see `Broker`."""

        def attempt(now: float) -> Fields | None:
            done = self._queues.put(*key, items, request=request, ttl=ttl, now=now)
            return {"put": True} if done else None

        return self._try(request, until, attempt, {"put": False})

    def take(
        self,
        owner: Hashable,  # noqa: ARG002 - the port's
        key: tuple[str, str],
        limit: int,
        *,
        request: str,
        until: float | None,
        now: float,  # noqa: ARG002 - the port's
    ) -> Later:
        """Take elements; see `Broker`."""

        def attempt(now: float) -> Fields | None:
            items = self._queues.take(*key, limit, ANSWER_SIZE, request=request, now=now)
            return {"items": to_texts(items)} if items else None

        return self._try(request, until, attempt, {"items": []})

    def peek(
        self,
        owner: Hashable,  # noqa: ARG002 - the port's
        key: tuple[str, str],
        after: int,
        limit: int,
        *,
        request: str,
        until: float | None,
        now: float,  # noqa: ARG002 - the port's
    ) -> Later:
        """Look at elements; see `Broker`."""

        def attempt(now: float) -> Fields | None:
            found = self._queues.peek(*key, after, limit, ANSWER_SIZE, now)
            told = [[position, to_text(item)] for position, item in found]
            return {"items": told} if told else None

        return self._try(request, until, attempt, {"items": []})

    def settle(self, requests: list[str], *, keep: bool, now: float) -> list[bool]:
        """End requests; see `Broker`."""
        if not keep:
            with self._lock:
                for request in self._waiting.keys() & set(requests):
                    self._waiting[request] = False
        return self._queues.settle(requests, keep=keep, now=now)

    def clear(self, queue_id: str, partition: str | None, *, request: str, now: float) -> None:
        """Remove all elements; see `Broker`."""
        emptied(self._queues, queue_id, partition, request=request, now=now)

    def _try(
        self,
        request: str,
        until: float | None,
        attempt: Callable[[float], Fields | None],
        in_vain: Fields,
    ) -> Later:
        later, pause = Later(), _PAUSE[0]
        with self._lock:
            self._waiting[request] = True
        try:
            while (told := attempt(self._clock.wall())) is None:
                left = _PAUSE[1] if until is None else until - self._clock.wall()
                if left <= 0 or not self._waiting[request]:
                    break
                self._clock.sleep(min(pause, left))
                pause = min(pause * 1.5, _PAUSE[1])
        finally:
            with self._lock:
                wanted = self._waiting.pop(request)
        if told is not None and not wanted:
            # Its client left in the middle of the last try.
            self._queues.settle([request], keep=False, now=self._clock.wall())
            told = None
        later.give(told or in_vain)
        return later


class DepotBlobs:
    """Big payloads of stores, which are in the depot before a store hears of them.

    Args:
        depot: The depot.
    """

    def __init__(self, depot: Depot) -> None:
        self._depot = depot

    def adopt(self, ref: BlobRef, call_id: str, *, durable: bool) -> BlobRef:  # noqa: ARG002
        """Return the payload as it is: it bears the name of the object already."""
        return ref

    def delete(self, ref: BlobRef) -> None:
        """Delete a payload. Idempotent."""
        self._depot.delete([ref])

    def delete_call(self, call_id: str) -> None:
        """Leave the payloads of an object that is gone to the depot, which keeps none for ever."""


def open_stores(cloud: Cloud, settings: Settings, clock: Clock) -> Stores:
    """Return the desks over the ports of a cloud."""
    return Stores(
        cloud,
        DepotBlobs(cloud.depot),
        AskingBroker(cloud.queues, clock),
        settings.stores,
        settings.client_grace,
        clock,
        cloud.key,
    )
