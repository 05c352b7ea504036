"""Everything that programs share in one environment, over the ports of a provider."""

from __future__ import annotations

from collections.abc import Callable

from cloudfn.clock import Clock
from cloudfn.control.stores.dicts import DictDesk
from cloudfn.control.stores.payloads import StoreBlobs
from cloudfn.control.stores.queues import Broker, QueueDesk
from cloudfn.control.stores.registry import Registry
from cloudfn.control.stores.secrets import SecretDesk
from cloudfn.control.stores.volumes import VolumeDesk
from cloudfn.model import ids
from cloudfn.providers.base import Cloud, Provider
from cloudfn.providers.objects import ObjectKind
from cloudfn.settings import StoreLimits


class Stores:
    """The desks that answer clients, put together.

    Args:
        provider: Where everything is kept.
        blobs: Where big payloads are kept.
        broker: Has requests of queues wait.
        limits: How much it may be.
        grace: Seconds that a client which vanished has to come back.
        clock: The time.
        key: Returns the environment's key.
    """

    def __init__(
        self,
        provider: Provider | Cloud,
        blobs: StoreBlobs,
        broker: Broker,
        limits: StoreLimits,
        grace: float,
        clock: Clock,
        key: Callable[[], bytes],
    ) -> None:
        self._provider = provider
        self._grace = grace
        self._clock = clock
        self.registry = Registry(
            provider.objects,
            {
                ObjectKind.DICT: self._wipe_dict,
                ObjectKind.QUEUE: self._wipe_queue,
                ObjectKind.SECRET: self._wipe_secret,
                ObjectKind.VOLUME: provider.volumes.wipe,
            },
        )
        self.volumes = VolumeDesk(provider.volumes, self.registry)
        self.secrets = SecretDesk(provider.secrets, self.registry, key)
        self._blobs = blobs
        self._broker = broker
        self.dicts = DictDesk(provider.dicts, self.registry, blobs, limits)
        self.queues = QueueDesk(provider.queues, broker, self.registry, blobs, limits)

    def expire(self) -> None:
        """Drop what had its time."""
        now = self._clock.wall()
        self.dicts.expire(now, self._grace)
        self.queues.expire(now, self._grace)
        self.volumes.expire(now, self._grace)
        self.secrets.sweep(self._secrets_in_use(), now)

    def close(self) -> None:
        """Give the stores back."""
        provider = self._provider
        ports = (provider.objects, provider.dicts, provider.queues, provider.secrets)
        for port in (*ports, provider.volumes):
            port.close()

    def _secrets_in_use(self) -> set[str]:
        """Return the ids of secrets that containers may yet be started with."""
        catalog, used = self._provider.catalog, set[str]()
        for app in catalog.apps():
            for revision in catalog.revisions(app.app_id):
                for function in revision.spec.functions:
                    used |= {ref.object_id for ref in function.secrets}
            for record in catalog.variants(app.app_id):
                given = record.variant.options.get("secrets", ()) if record.variant else ()
                used |= {ref["object_id"] for ref in given}
        return used

    def _wipe_secret(self, object_id: str) -> None:
        self._provider.secrets.delete([object_id])

    def _wipe_dict(self, object_id: str) -> None:
        request = ids.mint("rq")
        self._provider.dicts.pop(object_id, None, request=request, now=self._clock.wall())
        self._blobs.delete_call(object_id)

    def _wipe_queue(self, object_id: str) -> None:
        now = self._clock.wall()
        self._broker.clear(object_id, None, request=ids.mint("rq"), now=now)
        self._blobs.delete_call(object_id)
