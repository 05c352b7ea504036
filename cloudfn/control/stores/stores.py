"""Everything that programs share in one environment, over the ports of a provider."""

from __future__ import annotations

from cloudfn.clock import Clock
from cloudfn.control.stores.broker import Broker
from cloudfn.control.stores.dicts import DictDesk
from cloudfn.control.stores.queues import QueueDesk
from cloudfn.control.stores.registry import Registry
from cloudfn.model import ids
from cloudfn.providers.base import Provider
from cloudfn.providers.objects import ObjectKind
from cloudfn.settings import StoreLimits


class Stores:
    """The desks that answer clients, put together.

    Args:
        provider: Where everything is kept.
        limits: How much it may be.
        grace: Seconds that a client which vanished has to come back.
        clock: The time.
    """

    def __init__(self, provider: Provider, limits: StoreLimits, grace: float, clock: Clock) -> None:
        self._provider = provider
        self._grace = grace
        self._clock = clock
        self.registry = Registry(
            provider.objects,
            {ObjectKind.DICT: self._wipe_dict, ObjectKind.QUEUE: self._wipe_queue},
        )
        self.broker = Broker(provider.queues, grace)
        self.dicts = DictDesk(provider.dicts, self.registry, provider.blobs, limits)
        self.queues = QueueDesk(provider.queues, self.broker, self.registry, provider.blobs, limits)

    def expire(self) -> None:
        """Drop what had its time."""
        now = self._clock.wall()
        self.dicts.expire(now, self._grace)
        self.queues.expire(now, self._grace)

    def close(self) -> None:
        """Give the stores back."""
        for port in (self._provider.objects, self._provider.dicts, self._provider.queues):
            port.close()

    def _wipe_dict(self, object_id: str) -> None:
        request = ids.mint("rq")
        self._provider.dicts.pop(object_id, None, request=request, now=self._clock.wall())
        self._provider.blobs.delete_call(object_id)

    def _wipe_queue(self, object_id: str) -> None:
        now = self._clock.wall()
        self.broker.clear(object_id, None, request=ids.mint("rq"), now=now)
        self._provider.blobs.delete_call(object_id)
