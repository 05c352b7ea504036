"""What programs share in an offline run."""

from __future__ import annotations

from collections.abc import Callable

from cloudfn.control.operations import Fields
from cloudfn.control.stores.broker import Broker
from cloudfn.control.stores.later import Later
from cloudfn.control.stores.stores import Stores
from cloudfn.settings import StoreLimits
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.provider import MemoryProvider

#: seconds; nobody vanishes here, but what was replaced is still to be read
_GRACE = 60.0
_KEY = bytes(32)


class OfflineStores(Stores):
    """The same desks as in a daemon, over memory.

    Args:
        provider: Where everything is kept.
        limits: How much it may be.
        clock: The time.
    """

    def __init__(self, provider: MemoryProvider, limits: StoreLimits, clock: FakeClock) -> None:
        self.broker = Broker(provider.queues, _GRACE)
        super().__init__(provider, provider.blobs, self.broker, limits, _GRACE, clock, lambda: _KEY)
        self._objects: dict[str, Callable[[Fields], Fields | Later]] = {
            "open": lambda fields: self.registry.open(fields, clock.wall()),
            "list": self.registry.listing,
            "rename": self.registry.rename,
            "delete": self._delete,
            "close": self._delete,
        }

    def operation(self, op: str) -> Callable[[Fields], Fields | Later] | None:
        """Return what answers an operation of `docs/protocol.md`; None if that is not ours."""
        noun, _, verb = op.partition("_")
        if noun == "object":
            return self._objects.get(verb)
        desks = {
            "dict": self.dicts,
            "queue": self.queues,
            "secret": self.secrets,
            "volume": self.volumes,
        }
        method = getattr(desks.get(noun), verb, None)
        if method is None:
            return None
        if noun == "queue" and verb in ("put", "take", "peek"):
            return lambda fields: method(self, fields, self._clock.wall())
        return lambda fields: method(fields, self._clock.wall())

    def _delete(self, fields: Fields) -> Fields:
        self.registry.delete(fields["object_id"])
        return {}
